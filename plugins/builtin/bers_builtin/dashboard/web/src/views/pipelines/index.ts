// The running graph: what passes where, how fast, what waits, and what was dropped; and what passes one place right now.

import { ask, quoted } from "../../api";
import { button, buttons } from "../../deeds";
import { byId, h, mark, renew, show, table } from "../../dom";
import { formatted, span } from "../../format";
import { type Edge, graph as picture } from "../../graph";
import "../../rooms.css";
import type { View } from "../../view";
import { type Looked, Tap } from "./tap";

interface Spot {
  id: string;
  kind: string;
  stage: string;
  use: string;
  claims: string[];
  pipeline: string;
  state: string | null;
  since: number | null;
  restarts: number;
  error: string | null;
  counters: { dropped: Record<string, number>; dead: number; errors: number } | null;
  rates: { taken: number; out: number; errors: number; cpu: number };
  p50: number | null;
  p99: number | null;
  queued: number;
  queueAge: number | null;
  lag: number | null;
}

interface Graph {
  nodes: Spot[];
  links: Edge[];
  process: { cpu: number; uptime: number; journal: number };
  taps: number;
}

interface Standing {
  key: string;
  pipeline: string | null;
  reason: string | null;
  restartsLeft: number | null;
}

const STATES: Record<string, string> = { ok: "healthy", degraded: "degraded", failing: "unhealthy", quarantined: "unhealthy" };
const LATE = 5000; // Milliseconds that something may wait before it is said on top.
const WAY_IN = "The way in";
const COLUMNS = ["Place", "State", "#In, 1/s", "#Out, 1/s", "#CPU", "#P50", "#P99", "#Waits", "#Dropped", "#Restarts", ""];

export function pipelines(): View {
  let graph: Graph = { nodes: [], links: [], process: { cpu: 0, uptime: 0, journal: 0 }, taps: 0 };
  let standings = new Map<string, Standing>();
  const tap = new Tap(() => {
    draw();
    remember(tap.at?.at ?? "");
  });

  const node = (id: string) => graph.nodes.find((one) => one.id === id);

  function look(id: string): void {
    const found = node(id);
    if (found) tap.open(looked(found));
    byId("tap").scrollIntoView({ block: "nearest" });
  }

  /** What takes a way: what comes out where it begins, or, where nobody can look there, what comes in where it ends. */
  function along({ from, to }: Edge): void {
    const [start, end] = [node(from), node(to)];
    const place = start?.kind === "processor" ? start : end?.kind === "bus" || start?.kind === "intake" ? (start?.kind === "source" ? start : end) : end;
    if (!place) return;
    tap.open({ ...looked(place), title: `What goes from ${from} to ${to}` });
    byId("tap").scrollIntoView({ block: "nearest" });
  }

  async function load(): Promise<void> {
    const [found, stages] = await Promise.all([ask<Graph>("pipelines"), ask<Standing[]>("stages")]);
    graph = found;
    const through = found.links.filter((link) => link.to === "bus").reduce((sum, link) => sum + link.rate, 0);
    for (const bus of found.nodes) if (bus.kind === "bus") bus.rates = { ...bus.rates, taken: through, out: through };
    standings = new Map(stages.map((one) => [one.pipeline ? `${one.pipeline}/${one.key}` : one.key, one]));
    draw();
    const wanted = new URLSearchParams(location.search).get("at");
    if (wanted && !tap.at && node(wanted)) tap.open(looked(node(wanted)!));
  }

  function draw(): void {
    const groups = new Map<string, Spot[]>();
    for (const one of graph.nodes) groups.set(one.pipeline || WAY_IN, [...(groups.get(one.pipeline || WAY_IN) ?? []), one]);
    show(byId("process"), `${formatted(graph.process.cpu)} % of a processor, journal ${formatted(100 * graph.process.journal)} % full, ${graph.taps} looking, up ${span(graph.process.uptime)}`);
    const places = graph.nodes.map((one) => ({ id: one.id, open: tap.at?.at === one.id, status: STATES[one.state ?? "ok"] ?? "unknown", says: says(one) }));
    renew(byId("picture"), picture(places, graph.links, look, along));
    renew(byId("graph"), ...[...groups].map(([name, nodes]) => section(name, nodes)));
    const wrong = graph.nodes.filter((one) => trouble(one) && (one.kind !== "source" || one.stage));
    byId("trouble-places").hidden = !wrong.length;
    renew(byId("wrong"), ...wrong.map((one) => remedy(one, standing(one))));
  }

  const standing = (one: Spot) => standings.get(`${one.pipeline}/${one.stage}`) ?? standings.get(one.stage);

  function section(name: string, nodes: readonly Spot[]): HTMLElement {
    return h("section", {}, h("h2", {}, name), table(`What passes ${name}`, COLUMNS, nodes.map(row)));
  }

  function row(one: Spot) {
    const dropped = Object.entries(one.counters?.dropped ?? {});
    const lost = dropped.reduce((sum, [, count]) => sum + count, 0) + (one.counters?.dead ?? 0);
    const why = [...dropped.map(([reason, count]) => `${count} ${reason.replaceAll("_", " ")}`), one.counters?.dead ? `${one.counters.dead} dead letters` : ""].filter(Boolean).join(", ");
    const waits = one.queued + (one.lag ?? 0);
    const state = one.state ?? "ok";
    return {
      cells: [
        one.id,
        h("span", {}, mark(state, STATES[state] ?? "unknown"), one.error ? h("span", { class: "quiet", attributes: { title: one.error } }, ` ${one.error}`) : null),
        formatted(one.rates.taken),
        formatted(one.rates.out),
        `${formatted(one.rates.cpu)} %`,
        formatted(one.p50, "ms"),
        formatted(one.p99, "ms"),
        h("span", { class: waits && (one.queueAge ?? 0) > LATE ? "strong" : "" }, waits ? `${formatted(waits)}${one.queueAge ? `, ${formatted(one.queueAge, "ms")}` : ""}` : "–"),
        h("span", { class: lost ? "strong" : "", attributes: why ? { title: why } : {} }, formatted(lost)),
        formatted(one.restarts),
        buttons(h("button", { data: { key: `look ${one.id}` }, attributes: { type: "button" }, on: { click: () => look(one.id) } }, "Look"), one.stage ? restart(one) : null),
      ],
      data: { key: one.id },
    };
  }

  return { load, every: 2000 };
}

/** How to look at a place. A source has none of its own: what it reads, or tells of, is looked for in all that is taken in. */
function looked(one: Spot): Looked {
  const title = `What passes ${one.id}`;
  if (one.kind !== "source") return { title, at: one.kind === "intake" ? "bus" : one.id, pattern: "", where: "" };
  return { title, at: "bus", pattern: one.claims.join(","), where: one.claims.length || !one.stage ? "" : `source=${quoted(`bers:${one.stage}`)}` };
}

function remember(at: string): void {
  history.replaceState(null, "", at ? `?${new URLSearchParams({ at })}` : location.pathname);
}

const late = (one: Spot) => (one.queueAge ?? 0) > LATE && one.queued + (one.lag ?? 0) > 0;
const trouble = (one: Spot) => ["degraded", "failing", "quarantined"].includes(one.state ?? "ok") || late(one);

/** What stands in the picture: the matter, if there is one, else how much passes. */
function says(one: Spot): string {
  if (one.state && one.state !== "ok") return one.state;
  const waits = one.queued + (one.lag ?? 0);
  if (late(one)) return `${formatted(waits)} wait for ${formatted(one.queueAge, "ms")}`;
  return `${formatted(one.kind === "source" || one.kind === "processor" ? one.rates.out : one.rates.taken)}/s${waits > 1 ? `, ${formatted(waits)} wait` : ""}`;
}

/** Why a place is not well, and what is to be done. */
function remedy(one: Spot, standing: Standing | undefined): HTMLElement {
  const state = one.state && one.state !== "ok" ? one.state : "waits";
  const waits = one.queued + (one.lag ?? 0);
  const behind = waits ? `${formatted(waits)} records wait${one.queueAge ? `, the oldest for ${span(one.queueAge)}` : ""}. ` : "";
  const what: Record<string, string> = {
    quarantined: "It failed more often than it may, and is left alone. Mend what it says, in its configuration or around it, and then restart it; nothing that waits for it is lost.",
    failing: `Nothing gets through, and it is tried again by itself${standing?.restartsLeft === null || standing === undefined ? "" : `, with ${standing.restartsLeft} restarts left before it is left alone`}. Look at what it says; a restart gives it a whole budget again.`,
    degraded: "Some fail. It is tried again by itself; look at what it says.",
    waits: "It reads slower than is taken in, or waits for one of its sinks. Look which of them is slow or not well.",
  };
  return h(
    "li",
    { data: { key: one.id } },
    mark(state, STATES[state] ?? "degraded"),
    " ",
    h("strong", {}, one.id),
    one.since !== null && one.state !== "ok" ? h("span", { class: "quiet" }, ` for ${span(one.since)}`) : null,
    h("p", {}, [standing?.reason, one.error].filter((said, at, all) => said && all.indexOf(said) === at).join(": ")),
    h("p", { class: "step" }, behind, what[state] ?? ""),
    one.stage ? buttons(restart(one, "on top")) : null,
  );
}

const restart = (one: Spot, where = "") =>
  button(
    {
      title: `Restart ${one.stage}`,
      says: "It is stopped and started anew, with a budget of restarts that is whole. What waits for it is kept.",
      verb: "Restart",
      path: `stages/${encodeURIComponent(one.stage)}/restart`,
      told: () => "It is started anew.",
    },
    `${one.id} ${where}`,
  );
