// The server itself: its checks and configuration, what waits to be looked after, and what is done about it.

import { ask, type Check, type HealthReport, Refused } from "../api";
import { button, type Entry, may, who } from "../deeds";
import { worded } from "../dialog";
import { byId, h, mark, renew, show, table } from "../dom";
import { formatted, localText, moment, span } from "../format";
import { strip } from "../strip";
import type { View } from "../view";

interface History {
  percent: number | null;
  spans: { status: string; message: string; from: number; to: number }[];
}

interface Located {
  /** `file:line:col`. */
  place: string;
  path: string;
  message: string;
}

interface Configuration {
  generation: number;
  hash: string;
  file: string;
  loadedAt: number;
  result: string;
  faults: Located[];
  reload: { at: number; by: string } | null;
}

interface Letter {
  id: number;
  pipeline: string;
  stage: string;
  reason: string;
  attempts: number;
  lastTime: number;
  lastError: string | null;
  records: number;
  size: number;
}

interface Channel {
  name: string;
  state: string;
  waiting: number;
  givenUp: number;
  deliveredAt: number | null;
  failingSince: number | null;
  lastError: string | null;
}

interface Delivery {
  id: string;
  channel: string;
  subject: string;
  type: string;
  attempts: number;
  finishedAt: number | null;
  lastError: string | null;
}

const DAY = 86_400_000;
const HISTORIES_EVERY = 60_000;
const CHANNELS: Record<string, string> = { ok: "healthy", failing: "degraded", disabled: "unhealthy", removed: "unknown" };
const at = encodeURIComponent;

export function operations(): View {
  const sinks = (byId("channels").dataset.sinks ?? "").split(" ").filter(Boolean);
  let histories = new Map<string, History>();
  let asked = 0;

  async function load(): Promise<void> {
    await Promise.all([checks(), availability(), configuration(), caches(), letters(), channels(), deliveries(), may("admin") ? audit() : null]);
  }

  async function checks(): Promise<void> {
    const health = await ask<HealthReport>("health");
    if (Date.now() - asked > HISTORIES_EVERY) {
      asked = Date.now();
      const found = health.checks.map(async ({ name }) => [name, await ask<History>(`health/${at(name)}/history`, { period: "24h" })] as const);
      histories = new Map(await Promise.all(found));
    }
    const now = Date.now();
    renew(
      byId("checks"),
      table("Checks", ["Check", "State", "Breaker", "#Well, 24 h", "The last 24 h", "What it found", ""], health.checks.map((one) => row(one, histories.get(one.name), now))),
      buttons(
        button({
          title: "Close every breaker",
          says: "Every check is asked again at once, also those that failed so often that they are left alone.",
          verb: "Reset all breakers",
          path: "health/circuit-breakers/reset",
          told: (answer: { reset: string[] }) => (answer.reset.length ? `Closed: ${answer.reset.join(", ")}.` : "None was open."),
        }),
      ),
    );
  }

  function row(check: Check, past: History | undefined, now: number) {
    const { breaker } = check;
    const state = breaker?.state ?? "–";
    const well = past?.percent == null ? "–" : formatted(past.percent, "%");
    const stretches = (past?.spans ?? []).map((one) => ({ ...one, says: `${one.status}, ${localText(new Date(one.from))}: ${one.message}` }));
    const reset = button(
      {
        title: `Close the breaker of ${check.name}`,
        says: "It is asked again at once.",
        verb: "Reset",
        path: `health/circuit-breakers/${at(check.name)}/reset`,
        told: (answer: { reset: string[] }) => (answer.reset.length ? "It is closed." : "It was not open."),
      },
    );
    return {
      cells: [
        check.name,
        mark(check.status, check.status),
        breaker?.openedAt ? h("span", {}, `${state} since `, moment(breaker.openedAt)) : breaker?.failures ? `${state}, failed ${breaker.failures} times` : h("span", { class: "word" }, state),
        well,
        past ? strip(`${check.name}: well for ${well} of what is known of 24 h`, stretches, now - DAY, now) : "–",
        [check.message, check.remediation].filter(Boolean).join(" "),
        state === "closed" || state === "–" ? null : reset,
      ],
      data: { key: check.name },
    };
  }

  return { load, every: 10_000, listen: (live) => live.on("health_status", () => void checks().catch(() => undefined)) };

  async function channels(): Promise<void> {
    const found = await Promise.all(sinks.map(async (sink) => (await ask<Channel[]>(`${sink}/channels`)).map((one) => ({ sink, ...one }))));
    const all = found.flat();
    if (all.length === 0) return renew(byId("channels"), h("p", { class: "none" }, "No channel is told of anything: `channels` of a sink says who is."));
    const rows = all.map((one) => ({
      cells: [
        h("span", {}, one.name, h("span", { class: "quiet" }, ` ${one.sink}`)),
        h("span", {}, mark(one.state, CHANNELS[one.state] ?? "degraded"), one.failingSince ? h("span", { class: "quiet" }, " since ", moment(one.failingSince)) : null),
        one.waiting,
        one.givenUp,
        one.deliveredAt ? moment(one.deliveredAt) : "never",
        one.lastError ?? "",
        buttons(
          button(
            {
              title: `Test ${one.name}`,
              says: "A test is sent to it, as an alert would be; whoever is behind it sees it.",
              verb: "Test",
              path: `${one.sink}/test`,
              body: { channel: one.name },
              told: (answer: { taken: boolean; status: number | null; answer: string; durationMs: number }) =>
                `${answer.taken ? "It was taken" : "It was not taken"}${answer.status ? `, with ${answer.status}` : ""}, in ${formatted(answer.durationMs, "ms")}${answer.answer ? `: ${answer.answer}` : "."}`,
            },
            `${one.sink} ${one.name}`,
          ),
          button(
            {
              title: `Enable ${one.name}`,
              says: "It is told again, and whatever waits for it is tried at once.",
              verb: "Reset",
              path: `${one.sink}/channels/reset`,
              body: { channel: one.name },
              told: (answer: Channel) => `It is ${answer.state}, and ${answer.waiting} wait for it.`,
            },
            `${one.sink} ${one.name}`,
          ),
        ),
      ],
      data: { key: `${one.sink} ${one.name}` },
    }));
    return renew(byId("channels"), table("Channels", ["Channel", "State", "#Waiting", "#Given up", "Told last", "Last fault", ""], rows));
  }

  async function deliveries(): Promise<void> {
    const found = await Promise.all(
      sinks.map(async (sink) => (await ask<Delivery[]>(`${sink}/deliveries`, { status: "failed", limit: 50 })).map((one) => ({ sink, ...one }))),
    );
    const all = found.flat();
    if (all.length === 0) return renew(byId("deliveries"), h("p", { class: "none" }, "None."));
    const rows = all.map((one) => ({
      cells: [
        h("span", {}, one.channel, h("span", { class: "quiet" }, ` ${one.sink}`)),
        one.type,
        one.subject,
        one.attempts,
        one.finishedAt ? moment(one.finishedAt) : "–",
        one.lastError ?? "",
        button(
          {
            title: `Send it to ${one.channel} again`,
            says: `${one.type} of ${one.subject} was given up after ${one.attempts} attempts. It is tried again, unless it is too late for it.`,
            verb: "Retry",
            path: `${one.sink}/deliveries/retry`,
            body: { channel: one.channel, id: one.id },
            told: (answer: { retried: number; tooLate: number }) => (answer.retried ? "It is sent again." : "It is too late for it: it is not sent."),
          },
          one.id,
        ),
      ],
      data: { key: one.id },
    }));
    return renew(byId("deliveries"), table("Notifications that failed", ["Channel", "What", "About", "#Attempts", "Given up", "Last fault", ""], rows));
  }
}

const buttons = (...all: (HTMLElement | null)[]) => h("span", { class: "buttons" }, ...all);

interface Availability {
  percent: number | null;
  target: number | null;
  since: number | null;
  periodMs: number;
  budgetMinutes: number | null;
  leftMinutes: number | null;
  gapCount: number;
  gaps: { from: number; to: number; reason?: string }[];
}

/** When this node was there at all: a gap is drawn as one, and what was before its first start as nothing. */
async function availability(): Promise<void> {
  const now = Date.now();
  const found = await ask<Availability>("availability", { window: "30d" });
  const since = Math.max(found.since ?? now, now - found.periodMs);
  const there = { status: "healthy", from: since, to: now, says: `there since ${localText(new Date(since))}` };
  const gaps = found.gaps.map((gap) => ({ status: "unhealthy", from: gap.from, to: gap.to, says: `away for ${span(gap.to - gap.from)} from ${localText(new Date(gap.from))}` }));
  const left = found.leftMinutes === null ? "" : `, ${formatted(found.leftMinutes)} of ${formatted(found.budgetMinutes)} min are left of the budget`;
  const says = `${formatted(found.percent, "%")} with a target of ${formatted(found.target, "%")}${left}; ${found.gapCount} gaps`;
  renew(
    byId("availability"),
    h("p", {}, says),
    strip(says, [there, ...gaps], since, now),
    h("p", { class: "quiet" }, "From ", moment(since)),
    gaps.length ? h("ul", { class: "quiet" }, ...gaps.slice(-10).reverse().map((gap) => h("li", {}, gap.says))) : "",
  );
}

async function configuration(): Promise<void> {
  const now = await ask<Configuration>("config");
  const facts: [string, Node | string][] = [
    ["Generation", String(now.generation)],
    ["Hash", h("code", {}, now.hash)],
    ["File", now.file],
    ["In place since", moment(now.loadedAt)],
    ["Last attempt", h("span", {}, mark(now.result, now.result === "failed" ? "unhealthy" : "healthy"), now.reload ? h("span", {}, ` by ${now.reload.by} `, moment(now.reload.at)) : null)],
  ];
  renew(
    byId("configuration"),
    h("dl", { class: "summary" }, ...facts.map(([name, fact]) => h("div", {}, h("dt", {}, name), h("dd", {}, fact)))),
    now.faults.length
      ? h("ul", { class: "faults" }, ...now.faults.map((one) => h("li", {}, h("code", {}, located(one)), ` ${one.message}`)))
      : "",
    buttons(
      button({
        title: "Read the configuration again",
        says: `${now.file} is read, and what differs is changed. Where anything is wrong with it, nothing changes.`,
        verb: "Reload",
        path: "config/reload",
        told: (answer: Configuration) => `Generation ${answer.generation} is in place.`,
      }),
    ),
  );
}

const located = (one: Located) => [one.place, one.path].filter(Boolean).join(": ");

async function caches(): Promise<void> {
  const environment = await ask<{ environment: string; source: string; cached: boolean; resolutionTime: number | null }>("environment-resolver").catch((fault: unknown) => {
    if (fault instanceof Refused) return null;
    throw fault;
  });
  renew(
    byId("caches"),
    environment
      ? h("p", {}, h("strong", {}, environment.environment), h("span", { class: "quiet" }, ` from ${environment.source}, resolved in ${formatted(environment.resolutionTime, "ms")}`))
      : "",
    buttons(
      button({
        title: "Forget the environment",
        says: "What was resolved is forgotten, and looked up again at once.",
        verb: "Clear the resolver's cache",
        path: "environment-resolver/clear-cache",
        told: (answer: { cleared: number; generation: number }) => `${answer.cleared} forgotten; generation ${answer.generation} is resolved.`,
      }),
      button({
        title: "Drop decoded pages",
        says: "The next questions read from disk. What is stored stays.",
        verb: "Clear the cache of metrics",
        path: "metrics/clear-cache",
        told: (answer: { cleared: number; bytes: number }) => `${answer.cleared} pages dropped, ${formatted(answer.bytes, "By")}.`,
      }),
      button({
        title: "Restart what measures",
        says: "Every source that measures by itself is started anew. What is stored stays; meanwhile some readings are missing.",
        verb: "Restart the collector",
        path: "metrics/restart",
        told: (answer: { restarted: string[] }) => `Started anew: ${answer.restarted.join(", ")}.`,
      }),
    ),
  );
}

async function letters(): Promise<void> {
  const found = await ask<Letter[]>("dead-letters", { limit: 50 });
  if (found.length === 0) return renew(byId("letters"), h("p", { class: "none" }, "Everything was delivered."));
  const outcome = (answer: { delivered: number; left: number; error?: string | null }) =>
    `${answer.delivered} delivered, ${answer.left} left${answer.error ? `: ${answer.error}` : "."}`;
  const rows = found.map((one) => ({
    cells: [
      h("span", {}, `${one.pipeline}/${one.stage}`, h("span", { class: "quiet" }, ` ${one.id}`)),
      one.reason.replaceAll("_", " "),
      one.records,
      formatted(one.size, "By"),
      one.attempts,
      moment(one.lastTime),
      one.lastError ?? "",
      buttons(
        button({
          title: `Hand in letter ${one.id} again`,
          says: `Its ${one.records} records go to ${one.stage} of ${one.pipeline} alone. It is gone when that takes it.`,
          verb: "Replay",
          path: `dead-letters/${one.id}/replay`,
          told: outcome,
        }),
        button({
          title: `Forget letter ${one.id}`,
          says: `Its ${one.records} records are gone for good.`,
          verb: "Delete",
          method: "DELETE",
          path: `dead-letters/${one.id}`,
          told: (answer: { dropped: number }) => `${answer.dropped} forgotten.`,
        }),
      ),
    ],
    data: { key: String(one.id) },
  }));
  return renew(
    byId("letters"),
    table("Dead letters", ["Where", "Why", "#Records", "#Size", "#Attempts", "Last tried", "Last fault", ""], rows),
    buttons(
      button({
        title: "Hand in the newest letters again",
        says: "At most 100 go to their stages, the oldest first.",
        verb: "Replay all",
        path: "dead-letters/replay",
        told: outcome,
      }),
    ),
  );
}

async function audit(): Promise<void> {
  const entries = await ask<Entry[]>("audit", { limit: 30 });
  const verify = async () => {
    try {
      const proof = await ask<{ sound: boolean; rows: number; sealed: number; faults: { row: number; fault: string; remedy: string }[]; notes: string[] }>("audit/verify");
      const faults = proof.faults.map((one) => `row ${one.row}: ${one.fault}. ${one.remedy}`);
      show(byId("proof"), [proof.sound ? `All ${proof.rows} rows are as they were written.` : "The audit is not as it was written.", ...faults, ...proof.notes].join(" "));
    } catch (fault) {
      show(byId("proof"), worded(fault));
    }
  };
  renew(
    byId("audit"),
    buttons(h("button", { data: { key: "verify" }, attributes: { type: "button" }, on: { click: () => void verify() } }, "Verify")),
    entries.length
      ? table("Who changed what", ["When", "Who", "What", "Notes", "Outcome"], entries.map((one) => ({
          cells: [moment(one.time), who(one), [one.action.replace("/api/monitoring/", ""), one.target].filter(Boolean).join(" "), one.notes, one.outcome.replaceAll("_", " ")],
          data: { key: String(one.id) },
        })))
      : h("p", { class: "none" }, "Nobody changed anything yet."),
  );
}
