// Every metric as a small chart: found by its name, over a span of time, and live.

import { ask, type Summary } from "../api";
import { byId, show } from "../dom";
import { MINUTE, RANGES } from "../metric/chosen";
import { nextFrame } from "../pace";
import { Tile } from "../tile";
import { complain, type View } from "../view";

const AT_ONCE = 4; // How many are asked for at a time: a browser has six connections, and the stream keeps one.
const DEFAULT = "15m";

export function metrics(main: HTMLElement): View {
  const tiles = [...main.querySelectorAll<HTMLElement>("[data-metric]")].map((node) => new Tile(node));
  const byName = new Map(tiles.map((tile) => [tile.name, tile]));
  const names = new Map([...main.querySelectorAll<HTMLElement>("[data-name]")].map((node) => [node.dataset.name ?? "", node]));
  const measured = new Set(tiles.filter((tile) => !tile.node.hidden).map((tile) => tile.name));
  const find = byId("find") as HTMLInputElement;
  const asked = new URLSearchParams(location.search);
  let range = asked.get("range") ?? DEFAULT;
  if (!(range in RANGES)) range = DEFAULT;
  find.value = asked.get("find") ?? "";

  const sight = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) byName.get((target as HTMLElement).dataset.metric ?? "")!.isSeen = isIntersecting;
      void charts().catch(complain);
    },
    { rootMargin: "300px" },
  );
  for (const tile of tiles) sight.observe(tile.node);

  find.addEventListener("input", () => {
    filter();
    keep();
  });
  for (const button of main.querySelectorAll<HTMLButtonElement>("[data-range]")) {
    button.addEventListener("click", () => {
      range = button.dataset.range ?? DEFAULT;
      look();
      keep();
    });
  }

  function look(): void {
    for (const button of main.querySelectorAll<HTMLElement>("[data-range]")) button.setAttribute("aria-pressed", String(button.dataset.range === range));
    for (const tile of tiles) tile.over((RANGES[range] ?? 15) * MINUTE);
    void charts().catch(complain);
  }

  /** The address keeps what is looked at, for whoever is sent it. */
  function keep(): void {
    const fields = new URLSearchParams({ ...(range === DEFAULT ? {} : { range }), ...(find.value.trim() ? { find: find.value.trim() } : {}) });
    history.replaceState(null, "", `/metric${fields.size ? `?${fields}` : ""}`);
  }

  function filter(): void {
    const words = find.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
    const wanted = (node: HTMLElement) => words.every((word) => (node.dataset.words ?? "").toLowerCase().includes(word));
    let [shown, missing] = [0, 0];
    for (const { name, node } of tiles) {
      node.hidden = !measured.has(name) || !wanted(node);
      shown += Number(!node.hidden);
      const other = names.get(name);
      if (other) other.hidden = measured.has(name) || !wanted(other);
      missing += Number(other && !other.hidden);
    }
    byId("none").hidden = shown > 0;
    byId("all-measured").hidden = missing > 0 || words.length > 0;
    show(byId("shown"), words.length ? `${shown} of ${measured.size}` : `${shown} metrics`);
  }

  function isMeasured(name: string): void {
    if (measured.has(name)) return;
    measured.add(name);
    filter();
  }

  let asking: Promise<unknown> | undefined;

  /** Ask for all that is in sight and due, a few at a time; what comes into sight meanwhile is asked for as well. */
  function charts(): Promise<unknown> {
    return (asking ??= Promise.all(Array.from({ length: AT_ONCE }, one)).finally(() => (asking = undefined)));
  }

  async function one(): Promise<void> {
    for (let tile: Tile | undefined; (tile = tiles.find((each) => !each.node.hidden && each.isDue(Date.now()))); ) {
      await tile.load();
      await nextFrame(); // Many answers at once would be a frame that everybody sees.
    }
  }

  async function load(): Promise<void> {
    const found = await ask<Record<string, Summary>>("metrics");
    for (const [name, summary] of Object.entries(found)) {
      if (summary.current === null) continue;
      byName.get(name)?.value(summary.current, summary.lastUpdated);
      isMeasured(name);
    }
    await charts();
  }

  filter();
  look();
  return {
    load,
    every: 30_000, // The stream tells the newest values.
    listen(live) {
      live.on("performance_metrics", (frame) => {
        for (const [name, { current, lastUpdated }] of Object.entries(frame.metrics)) {
          isMeasured(name);
          byName.get(name)?.add(lastUpdated, current);
        }
      });
    },
  };
}
