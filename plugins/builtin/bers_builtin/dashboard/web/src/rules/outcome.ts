// What trying a rule came to: when it would have fired, beside the rule in force, with counts and total times.

import { ask, type MetricAnswer } from "../api";
import { Chart, columns } from "../chart";
import { h, table } from "../dom";
import { formatted, labelled, localText, moment, span, utcText } from "../format";
import { strip } from "../strip";
import { copied } from "./editor";
import type { Account, Occurrence, Trial } from "./rule";
import { entry } from "./text";

const CHANGES = ["same", "new", "gone", "longer", "shorter"];
const WORDS: Record<string, string> = { events: "events of the journal, each as it came", windows: "windows and records of the store" };

interface Lane {
  name: string;
  account: Account;
}

/** Everything that there is to say of it; `inForce` is the threshold of the rule that it is compared with. */
export function outcome(trial: Trial, text: string, inForce: number | null): Node[] {
  const lanes = lanesOf(trial);
  return [
    h("h3", {}, "When it would have fired"),
    h("p", { class: "quiet" }, moment(trial.since), " to ", moment(trial.until), `. Fires while ${trial.condition}.`),
    drawn(trial, lanes, inForce),
    table(
      "Counts and total times",
      ["Rule", "#Alerts", "#Fired in all", "#Told", "Known until"],
      lanes.map(({ name, account }) => ({ cells: [name, account.fired, lasted(account.firingMs), account.told, account.stopped ? h("span", {}, moment(account.reached), `: ${account.stopped}`) : "the end"] })),
    ),
    h("p", {}, compared(trial)),
    limits(trial),
    alerts(trial),
    h("h3", {}, "Take it over"),
    h("p", { class: "quiet" }, "This page changes no file. Put it below ", h("code", {}, "rules:"), " of the alert engine in ", h("code", {}, "pipelines.yaml"), ", in place of the rule of that name, and reload the configuration."),
    copied(entry(text, summary(trial, lanes))),
  ];
}

function lanesOf({ would, inForce, did }: Trial): Lane[] {
  const found: [string, Account | null][] = [["As edited", would], ["As in force", inForce], ["What did fire", did]];
  return found.flatMap(([name, account]) => (account ? [{ name, account }] : []));
}

/** A lane for each, below what was measured; all of them over the same time. */
function drawn(trial: Trial, lanes: readonly Lane[], inForce: number | null): HTMLElement {
  const place = h("div", { class: "chart measured" });
  const node = h(
    "figure",
    { class: "lanes", data: { measured: String(Boolean(trial.metric)) } },
    ...(trial.metric ? [place, key(trial, inForce)] : []),
    ...lanes.map(({ name, account }) => h("div", { class: "lane" }, h("span", { class: "quiet" }, name), strip(`${name}: ${inWords(account)}`, stretches(account, trial), trial.since, trial.until))),
  );
  if (trial.metric) void measure(place, trial, inForce);
  return node;
}

function stretches(account: Account, trial: Trial) {
  const fired = account.spans.map(([from, to]) => ({ status: "unhealthy", from, to, says: `fires from ${localText(new Date(from))} for ${lasted(to - from)}` }));
  const unknown = account.reached < trial.until ? [{ status: "", from: account.reached, to: trial.until, says: account.stopped }] : [];
  return [...fired, ...unknown];
}

/** Draw what was measured in that time: of each window the value that such a rule may find bad. */
async function measure(place: HTMLElement, trial: Trial, inForce: number | null): Promise<void> {
  const field = trial.condition.includes("<") ? "min" : "max";
  const found = await ask<MetricAnswer>(`metrics/${encodeURIComponent(trial.metric)}`, { from: trial.since, to: trial.until, points: 600, limit: 1, fields: `count,${field}` }).catch(() => null);
  if (!found || !place.isConnected) return;
  const level = (value: number | null, colour: string) => (value === null ? [] : [{ value, colour }]);
  const chart = new Chart(place, {
    height: 180,
    unit: found.unit,
    lines: [{ label: field, colour: 1 }],
    levels: [...level(inForce, "--line-0"), ...level(trial.threshold, "--bad")],
  });
  const points = columns(found.overall, 2, found.stepMs);
  chart.set([points[0], points[2]] as never, trial.since, trial.until);
}

function key(trial: Trial, inForce: number | null): Node {
  const limit = (word: string, value: number | null, colour: string) => (value === null ? [] : [h("li", { data: { colour } }, `${word} ${formatted(value, trial.unit)}`)]);
  return h("ul", { class: "key" }, h("li", {}, trial.metric), ...limit("threshold as edited", trial.threshold, "alert"), ...(inForce === trial.threshold ? [] : limit("in force", inForce, "0")));
}

function compared({ changes, did }: Trial): string {
  if (!did) return "It is compared with no rule in force.";
  const found = CHANGES.filter((one) => changes[one]).map((one) => `${changes[one]} ${one}`);
  return found.length ? `Compared with what did fire: ${found.join(", ")}.` : "Neither would it have fired, nor did the rule in force.";
}

function limits({ stretches: parts }: Trial): Node {
  const rows = parts.flatMap((one) => [
    h("li", {}, moment(one.from), " to ", moment(one.to), `: ${WORDS[one.fedWith] ?? one.fedWith} (${one.windows ? `${one.windows} windows, ` : ""}${one.events} events)`),
    ...one.cannotShow.map((sentence) => h("li", { class: "quiet" }, sentence)),
  ]);
  return h("details", {}, h("summary", {}, "What the rules were told, and what that cannot show"), h("ul", {}, ...rows));
}

function alerts({ would }: Trial): Node {
  if (!would || would.alerts.length === 0) return h("p", { class: "none" }, "It would not have fired.");
  const left = would.fired - would.alerts.length;
  const row = (one: Occurrence) => ({
    cells: [
      moment(one.from),
      h("span", {}, lasted(one.durationMs), one.to === null ? ", still fires" : ""),
      labelled(one.labels).join(", ") || "–",
      one.message,
      one.byMs && one.change !== "same" ? `${one.change} by ${lasted(Math.abs(one.byMs))}` : one.change,
    ],
  });
  return h(
    "details",
    {},
    h("summary", {}, `The alerts, one by one${left > 0 ? ` (the newest ${would.alerts.length} of ${would.fired})` : ""}`),
    table("Alerts as edited", ["Fired", "For", "Labels", "What", "Compared"], would.alerts.map(row)),
  );
}

const lasted = (milliseconds: number): string => (milliseconds < 60_000 ? formatted(milliseconds, "ms") : span(milliseconds));

const inWords = (account: Account): string => `${account.fired} ${account.fired === 1 ? "alert" : "alerts"}${account.firingMs ? `, ${lasted(account.firingMs)} in all` : ""}`;

function summary(trial: Trial, lanes: readonly Lane[]): string[] {
  return [`Tried on ${utcText(new Date(trial.since))} to ${utcText(new Date(trial.until))}.`, ...lanes.map(({ name, account }) => `${name}: ${inWords(account)}.`)];
}
