// The running graph: what passes where, how fast, what waits, and what was dropped; and what passes one place right now.

import { ask } from "../api";
import { button } from "../deeds";
import { byId, h, mark, renew, show, table } from "../dom";
import { formatted, span } from "../format";
import { type Edge, graph as picture } from "../graph";
import type { View } from "../view";

interface Node {
  id: string;
  kind: string;
  stage: string;
  use: string;
  pipeline: string;
  state: string | null;
  restarts: number;
  error: string | null;
  counters: { dropped: Record<string, number>; dead: number } | null;
  rates: { taken: number; out: number; errors: number; cpu: number };
  p50: number | null;
  p99: number | null;
  queued: number;
  queueAge: number | null;
  lag: number | null;
}

interface Graph {
  nodes: Node[];
  links: Edge[];
  process: { cpu: number; uptime: number };
}

const STATES: Record<string, string> = { ok: "healthy", starting: "unknown", restarting: "degraded", quarantined: "unhealthy" };
const MOST_SHOWN = 20;
const LOOKED_AT = 10;

export function pipelines(): View {
  let byName = new Map<string, Node>();

  function looked(id: string): void {
    const node = byName.get(id);
    if (node) void tap(node);
  }

  async function load(): Promise<void> {
    const graph = await ask<Graph>("pipelines");
    const groups = new Map<string, Node[]>();
    for (const node of graph.nodes) {
      const name = node.pipeline || "the way in";
      groups.set(name, [...(groups.get(name) ?? []), node]);
    }
    show(byId("process"), `${formatted(graph.process.cpu)} % of a processor, up ${span(graph.process.uptime)}`);
    const places = graph.nodes.map((node) => ({ id: node.id, kind: node.kind, opens: tappable(node), status: STATES[node.state ?? "ok"] ?? "degraded" }));
    renew(byId("picture"), picture(places, graph.links, looked));
    byName = new Map(graph.nodes.map((node) => [node.id, node]));
    renew(byId("graph"), ...[...groups].map(([name, nodes]) => section(name, nodes)));
  }

  function section(name: string, nodes: readonly Node[]): HTMLElement {
    return h(
      "section",
      {},
      h("h2", {}, name),
      table(`What passes ${name}`, ["Place", "State", "#In, 1/s", "#Out, 1/s", "#Processor", "#P99", "#Waits", "#Dropped", "#Restarts", ""], nodes.map(row)),
    );
  }

  function row(node: Node) {
    const dropped = Object.values(node.counters?.dropped ?? {}).reduce((sum, count) => sum + count, 0);
    const state = node.state ?? "ok";
    return {
      cells: [
        node.id,
        h("span", {}, mark(state, STATES[state] ?? "degraded"), node.error ? h("span", { class: "quiet" }, ` ${node.error}`) : null),
        formatted(node.rates.taken),
        formatted(node.rates.out),
        `${formatted(node.rates.cpu)} %`,
        formatted(node.p99, "ms"),
        node.queued || node.lag ? formatted(node.queued + (node.lag ?? 0)) : "–",
        formatted(dropped),
        formatted(node.restarts),
        h(
          "span",
          { class: "buttons" },
          tappable(node) ? h("button", { on: { click: () => void tap(node) } }, "Look") : null,
          node.stage ? restart(node) : null,
        ),
      ],
      data: { key: node.id },
    };
  }

  return { load, every: 2000 };
}

const tappable = (node: Node) => node.kind === "bus" || node.pipeline !== "";

async function tap(node: Node): Promise<void> {
  const shown = byId("tapped");
  byId("tap").hidden = false;
  show(byId("tap-title"), `What passes ${node.id}`);
  shown.replaceChildren();
  show(byId("tap-state"), "looking");
  const at = node.kind === "bus" ? "bus" : node.id;
  const stop = AbortSignal.timeout(LOOKED_AT * 1000);
  try {
    const reply = await fetch(`/api/monitoring/tap?${new URLSearchParams({ at, limit: String(MOST_SHOWN) })}`, { signal: stop });
    const lines = reply.body!.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ; ) {
      const { done, value } = await lines.read();
      if (done) break;
      text += value;
      const whole = text.split("\n");
      text = whole.pop() ?? "";
      for (const line of whole) {
        const record = JSON.parse(line) as Record<string, unknown>;
        const what = record.event ?? record.window;
        if (what) shown.append(h("li", {}, h("code", {}, JSON.stringify(what))));
      }
    }
    show(byId("tap-state"), `${shown.childElementCount} shown`);
  } catch {
    show(byId("tap-state"), `${shown.childElementCount} within ${LOOKED_AT} s`);
  }
}

const restart = (node: Node) =>
  button(
    {
      title: `Restart ${node.stage}`,
      says: "It is stopped and started anew, with a budget of restarts that is whole. What waits for it is kept.",
      verb: "Restart",
      path: `stages/${encodeURIComponent(node.stage)}/restart`,
      told: () => "It is started anew.",
    },
    node.id,
  );
