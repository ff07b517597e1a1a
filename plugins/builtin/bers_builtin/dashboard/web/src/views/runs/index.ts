// Builds, suites and deployments as they are and were, one of them opened, and DORA's figures.

import { ask } from "../../api";
import { byId, h, renew } from "../../dom";
import { formatted, localText } from "../../format";
import type { Live } from "../../live";
import { atMost } from "../../pace";
import { plot, type Row } from "../../plot";
import { type Kind, KINDS } from "../../runs";
import "../../rooms.css";
import { Unstored } from "../../unstored";
import { complain, inOrder, reload, type View } from "../../view";
import { deployed } from "./deployed";
import { dora } from "./dora";
import { form, isFiltered, keep, read, suggest } from "./filter";
import { brief, count, list, type Progress } from "./lists";
import { one } from "./one";
import { sizes } from "./sizes";
import { ahead, HEADINGS, heard, outcome, page, statusOf, texts, type Told } from "./told";

const ENDED = "These are all that are kept.";
const STORED_AFTER = 1500; // Milliseconds after which what the stream told stands in the store.
const ASKED_EVERY = 10_000; // The same between two questions for it, however much is told.
const DRAWN_EVERY = 500; // And between two drawings.
const MOST_HEARD = 100; // Runs of a kind that are known beside those that were paged to.
const MOST_PAGED = 2000; // Beyond that the list begins anew.
const MOST_ROWS = 8;

interface Pages {
  runs: Told[];
  next: string | null;
  /** Whether somebody went back in it. */
  paged: boolean;
}

export function runs(): View {
  const asked = new URLSearchParams(location.search);
  const id = asked.get("id") ?? "";
  const chosen = read(asked);
  const lists = new Map<Kind, Pages>();
  const unstored = new Unstored<Told>();
  const turns = new Map(KINDS.map((kind) => [kind, inOrder()]));
  let looked = 0; // How often something else was asked for.
  const progress = new Map<string, string>();
  let units: Promise<Record<string, { title: string; unit: string }>> | undefined;
  const drawn = new Map(KINDS.map((kind) => [kind, atMost(DRAWN_EVERY, () => draw(kind))]));
  const stored = atMost(ASKED_EVERY, async () => {
    await new Promise((resolve) => setTimeout(resolve, STORED_AFTER));
    await reload();
  });
  const places = new Map(KINDS.map((kind) => [kind, new Place(kind, () => void older(kind).catch(complain))]));

  form(chosen, () => {
    keep(chosen);
    looked += 1;
    lists.clear();
    void reload();
  });

  async function load(): Promise<void> {
    if (id) return whole();
    await Promise.all([...KINDS.map(first), dora(chosen)]);
  }

  /** The run that was asked for, and below it others of its name. */
  async function whole(): Promise<void> {
    units ??= ask<Record<string, { title: string; unit: string }>>("metrics").catch(() => ((units = undefined), {}));
    const [run] = await ask<Told[]>("runs", { id });
    byId("one").hidden = false;
    for (const place of ["filter", "dora", ...KINDS]) byId(place).hidden = place !== run?.kind;
    if (run) chosen.name = run.name;
    await Promise.all([one(id, run, () => units ?? Promise.resolve({})).then((all) => renew(byId("one"), ...all)), run && first(run.kind)]);
  }

  /** The newest, before those that were paged to. */
  async function first(kind: Kind): Promise<void> {
    const isNews = turns.get(kind)?.();
    const before = looked;
    const { runs: found, next } = await page(kind, chosen);
    if (before !== looked || !isNews?.()) return;
    const newest = id || isFiltered(chosen) ? found : ahead(unstored.of(kind), found);
    const known = lists.get(kind);
    const end = Math.min(...found.map((run) => run.endedAt ?? Infinity));
    const earlier = known?.paged && known.runs.length < MOST_PAGED ? known.runs : [];
    const shown = new Set(newest.map((run) => run.id));
    const kept = earlier.filter((run) => run.endedAt !== null && run.endedAt < end && !shown.has(run.id));
    lists.set(kind, { runs: [...newest, ...kept], next: kept.length ? (known?.next ?? null) : next, paged: kept.length > 0 });
    draw(kind);
    await places.get(kind)?.sizes(lists.get(kind)?.runs ?? []);
  }

  async function older(kind: Kind): Promise<void> {
    const known = lists.get(kind);
    if (!known?.next) return;
    const before = looked;
    const more = await page(kind, chosen, known.next);
    if (before !== looked) return;
    const now = lists.get(kind) ?? known; // The newest may have been asked for meanwhile.
    const seen = new Set(now.runs.map((run) => run.id));
    lists.set(kind, { runs: [...now.runs, ...more.runs.filter((run) => !seen.has(run.id))], next: more.next, paged: true });
    draw(kind);
    await places.get(kind)?.sizes(lists.get(kind)?.runs ?? []);
  }

  function draw(kind: Kind): void {
    const known = lists.get(kind);
    if (known) places.get(kind)?.draw(known, progress);
    suggest([...lists.values()].flatMap((one) => one.runs));
  }

  return {
    load,
    every: 30_000,
    listen(live: Live) {
      setInterval(() => count(byId("main")), 1000);
      live.on("event", (event) => {
        if (event.type.startsWith("io.bers.testsuiterun.progress")) {
          progress.set(event.subject ?? "", advance(event.data?.measures ?? {}, texts(event.data?.data?.running)));
          return drawn.get("validation")?.();
        }
        const run = heard(event);
        if (!run) return;
        if (run.state !== "running") progress.delete(event.subject ?? "");
        stored();
        unstored.add(run.kind, run);
        if (id || isFiltered(chosen)) return;
        const known = lists.get(run.kind) ?? { runs: [], next: null, paged: false };
        if (run.state === "running" && known.runs.some((other) => other.id === run.id)) return;
        const all = [run, ...known.runs.filter((other) => other.id !== run.id)];
        lists.set(run.kind, { ...known, runs: known.paged ? all : all.slice(0, MOST_HEARD) });
        drawn.get(run.kind)?.();
      });
    },
  };
}

/** Where the runs of a kind are listed and drawn. */
class Place {
  readonly #list = h("div");
  readonly #sizes = h("div");
  readonly #drawSizes = sizes(this.#sizes);

  constructor(
    private readonly kind: Kind,
    private readonly older: () => void,
  ) {}

  draw({ runs, next }: Pages, progress: Progress): void {
    const place = byId(this.kind);
    if (this.#list.parentElement !== place) place.replaceChildren(this.#list, this.#sizes);
    const took = rowsOf(runs);
    const running = runs.filter((run) => run.state === "running").length;
    renew(
      this.#list,
      h("h2", {}, HEADINGS[this.kind], running ? h("span", { class: "count" }, ` ${running} running`) : null),
      ...(this.kind === "deployment" ? deployed(runs) : []),
      list(this.kind, runs, progress),
      h("p", { class: "buttons" }, next ? h("button", { data: { key: `older ${this.kind}` }, attributes: { type: "button" }, on: { click: this.older } }, "Older") : h("span", { class: "quiet" }, runs.length ? ENDED : "")),
      ...(took.length ? [h("h3", {}, "How long they took"), plot(`${HEADINGS[this.kind]}, how long they took`, took, "ms")] : []),
    );
  }

  /** Ask how large builds are over time, and draw it. */
  async sizes(runs: readonly Told[]): Promise<void> {
    if (this.kind === "build") await this.#drawSizes(runs);
  }
}

function rowsOf(runs: readonly Told[]): Row[] {
  const rows = new Map<string, Told[]>();
  for (const run of runs) if (run.state === "ended" && run.event.duration_ms !== undefined) rows.set(run.name, [run, ...(rows.get(run.name) ?? [])]);
  return [...rows].slice(0, MOST_ROWS).map(([name, own]) => ({
    name,
    dots: own.map((run) => ({
      at: run.endedAt ?? 0,
      value: run.event.duration_ms ?? 0,
      status: statusOf(run),
      says: `${run.id}: ${formatted(run.event.duration_ms, "ms")} at ${localText(new Date(run.endedAt ?? 0))}, ${outcome(run)}`,
    })),
  }));
}

const advance = (measures: Record<string, number>, running: readonly string[] = []): string => {
  const done = ["passed", "failed", "errored", "skipped"].reduce((sum, status) => sum + (measures[`progress.${status}`] ?? 0), 0);
  const failed = (measures["progress.failed"] ?? 0) + (measures["progress.errored"] ?? 0);
  const selected = measures["progress.selected"];
  return [`${formatted(done)}${selected ? ` of ${formatted(selected)}` : ""} done`, failed ? `${formatted(failed)} failed` : "", running[0] ? `now ${brief(running[0])}` : ""].filter(Boolean).join(", ");
};
