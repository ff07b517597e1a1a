// One run, opened: where and of what it was made, its phases and what ran within it, tests, files, measures, log and alerts.

import { toAlert } from "../../alerts/chosen";
import { type Alert, ask, quoted } from "../../api";
import { facts, h, link, severity, table } from "../../dom";
import { formatted, moment } from "../../format";
import { address, outcomeMark, tone } from "../../runs";
import { took } from "./lists";
import { assets, signed } from "./sizes";
import { cases } from "./tests";
import { AROUND, HEADINGS, history, isRollback, marked, measured, type Said, type Told } from "./told";
import { ends, phases, waterfall, type Bar } from "./waterfall";

const MOST_EVENTS = 200;

interface Unit {
  title: string;
  unit: string;
}

/** Everything about a run that is known; nothing where it is not kept. */
export async function one(id: string, run: Told | undefined, units: () => Promise<Record<string, Unit>>): Promise<HTMLElement[]> {
  if (!run) return [h("h2", {}, id), h("p", { class: "none" }, "Nothing is known of this run, or not any more."), h("p", {}, link("/runs", "All runs"))];
  const [log, named, told, before, alerts] = await Promise.all([
    events(run),
    units(),
    cases(run),
    run.kind === "build" ? history(run.kind, run.name, 10) : [], // Of the others there are no files to compare.
    caused(run),
  ]);
  const earlier = before.find((other) => other.id !== run.id && (other.endedAt ?? 0) < (run.endedAt ?? Infinity));
  return [
    h("h2", {}, `${HEADINGS[run.kind].replace(/s$/, "")} `, h("span", { class: "count" }, run.id)),
    h("p", { class: "top" }, marked(run), isRollback(run) ? h("span", { class: "tag" }, "rollback") : null, run.event.reason ? h("span", {}, ` ${run.event.reason}`) : null),
    facts(known(run)),
    ...alerts,
    ...course(run, log),
    ...told,
    ...files(run, earlier),
    ...measures(run, named),
    ...journal(run, log),
    h("p", { class: "buttons" }, link(`/runs?${new URLSearchParams({ name: run.name })}`, `All of ${run.name}`), link("/runs", "All runs"), link(`/api/monitoring/runs?${new URLSearchParams({ id })}`, "As data")),
  ];
}

/** An address that somebody told is followed only where it leads to a page. */
function outward(url: string | undefined, says: string): HTMLElement | string {
  if (!url || !/^https?:\/\//i.test(url)) return says;
  const at = link(url, says);
  at.rel = "noreferrer";
  return at;
}

function known(run: Told): [string, Node | string][] {
  const { event } = run;
  const { vcs = {}, run: ci = {}, data = {}, measures = {} } = event;
  const lead = measured(run, "deployment_lead_time");
  const rows: [string, Node | string | undefined][] = [
    ["Began", run.startedAt === null ? undefined : moment(run.startedAt)],
    ["Ended", run.endedAt === null ? undefined : moment(run.endedAt)],
    ["Took", h("span", {}, took(run))],
    ["Lead time", lead === undefined ? undefined : formatted(lead, "ms")],
    ["Environment", event.environment],
    ["Service", event.service],
    ["Version", event.version],
    ["Artifact", event.artifact],
    ["Branch", vcs.ref],
    ["Commit", vcs.revision && h("code", { attributes: { title: vcs.revision } }, vcs.revision.slice(0, 12))],
    ["Change", vcs.change],
    ["Repository", vcs.repository],
    ["Host", event.source.startsWith("/host/") ? event.source.slice(6) : undefined],
    ["Told by", event.source.startsWith("/host/") ? undefined : event.source],
    ["CI", ci.system || ci.url ? outward(ci.url, [ci.system, ci.pipeline, ci.job, ci.id, (ci.attempt ?? 1) > 1 ? `attempt ${ci.attempt}` : ""].filter(Boolean).join(" ")) : undefined],
    ["Exit code", measures.exit_code === undefined ? undefined : String(measures.exit_code)],
    ["Command", typeof data.command === "string" ? h("code", {}, data.command) : undefined],
    ["Runner", typeof data.runner === "string" ? data.runner : undefined],
    ["Part of", typeof data.parent === "string" ? link(address(data.parent), data.parent) : undefined],
  ];
  return rows.filter((one): one is [string, Node | string] => one[1] !== undefined && one[1] !== "");
}

/** What happened to this run, and to others of its delivery meanwhile. */
async function events(run: Told): Promise<Said[]> {
  const since = Math.max(0, Math.round((run.startedAt ?? run.endedAt ?? 0) - AROUND));
  const until = Math.round((run.endedAt ?? Date.now()) + AROUND);
  const { chain } = run.event;
  const [own, others] = await Promise.all([
    ask<Said[]>("records", { subject: run.id, since, until, limit: MOST_EVENTS }),
    chain ? ask<Said[]>("records", { since, until, limit: MOST_EVENTS, where: `chain=${quoted(chain)}` }) : [],
  ]);
  const found = new Map([...own, ...others].map((one) => [`${one.source} ${one.id}`, one]));
  if (!run.event.subject) found.set("", run.event);
  return [...found.values()].sort((a, b) => a.timestamp - b.timestamp || (a.seq ?? 0) - (b.seq ?? 0));
}

function course(run: Told, log: readonly Said[]): HTMLElement[] {
  const { bars, placed } = phases(run);
  const within = log
    .filter((one) => one.subject && one.subject !== run.id && one.type.endsWith(".finished") && one.duration_ms !== undefined && !one.type.startsWith("testcaserun"))
    .map((one): Bar => ({ name: one.subject ?? "", from: one.timestamp - (one.duration_ms ?? 0), to: one.timestamp, href: address(one.subject ?? ""), status: tone(one.outcome ?? "finished") }));
  const all = [...bars, ...within];
  if (!all.length) return [];
  const [from, to] = ends(run, all);
  return [
    h("h3", {}, within.length && !bars.length ? "What ran with it" : "Phases"),
    waterfall(`Phases of ${run.id}`, all, from, to),
    placed || !bars.length ? "" : h("p", { class: "quiet" }, "Whoever built it told how long each phase took, and not when it began: they are drawn one after another."),
  ].filter((one): one is HTMLElement => one !== "");
}

function files(run: Told, earlier: Told | undefined): HTMLElement[] {
  const all = assets(run);
  if (!all.length) return [];
  const before = new Map((earlier ? assets(earlier) : []).map((one) => [one.name, one]));
  const rows = all.slice(0, 50).map((one) => {
    const past = before.get(one.name)?.raw;
    const change = past && one.raw !== undefined ? (one.raw === past ? "same" : signed((100 * (one.raw - past)) / past)) : earlier ? "new" : "–";
    return { cells: [one.name, formatted(one.raw, "By"), formatted(one.gzip, "By"), formatted(one.brotli, "By"), change, one.entry ? "entry" : one.initial ? "loaded first" : ""], data: { key: one.name } };
  });
  return [h("h3", {}, "Files"), table("Files", ["File", "#Raw", "#Gzip", "#Brotli", "#Since the build before", ""], rows)];
}

const SUFFIXES: readonly (readonly [string, string])[] = [["_ms", "ms"], ["_bytes", "By"], ["_percent", "%"]];

function measures(run: Told, units: Record<string, Unit>): HTMLElement[] {
  const own = Object.entries(run.event.measures ?? {}).map(([name, value]) => ({ name, label: "", value }));
  const parts = run.parts.flatMap((part) => {
    const label = part.labels.phase ?? part.labels.kind ?? part.labels.status ?? "";
    return Object.entries(part.measures).map(([name, value]) => ({ name, label, value }));
  });
  const rows = [...own, ...parts].map(({ name, label, value }) => {
    const known = units[name];
    const unit = known?.unit ?? SUFFIXES.find(([end]) => name.endsWith(end))?.[1] ?? "";
    return { cells: [known ? link(`/metric/${name}?range=24h`, known.title || name) : name, label, formatted(value, unit)], data: { key: `${name} ${label}` } };
  });
  return rows.length ? [h("details", {}, h("summary", {}, `Measures, ${rows.length}`), table("Measures", ["Measure", "Of", "#Value"], rows))] : [];
}

function journal(run: Told, log: readonly Said[]): HTMLElement[] {
  const told = log.filter((one) => !one.cause);
  const from = run.startedAt ?? told[0]?.timestamp ?? 0;
  const rows = told.map((one) => ({
    cells: [
      h("span", { class: "word" }, moment(one.timestamp), h("span", { class: "quiet" }, ` ${one.timestamp < from ? "−" : "+"}${formatted(Math.abs(one.timestamp - from), "ms")}`)),
      h("span", { class: "word" }, one.type),
      one.subject === run.id || !one.subject ? "" : one.subject.replace(`${run.id}/`, ""),
      h("span", {}, one.outcome ? outcomeMark(one.outcome) : "", ` ${(one.reason ?? "").split("\n")[0]}`),
      h("details", {}, h("summary", { class: "word" }, "all of it"), h("pre", {}, JSON.stringify(one, null, 1))),
    ],
    data: { key: `${one.source} ${one.id}` },
  }));
  const more = log.length - told.length;
  return [h("h3", {}, "Log"), table("What was told of it", ["When", "Event", "About", "Outcome", "Details"], rows), h("p", { class: "quiet" }, more ? `${more} more hold what follows from these: measures of parts, which stand above.` : "")];
}

/** Alerts that events of this run are behind. */
async function caused(run: Told): Promise<HTMLElement[]> {
  const [active, over] = await Promise.all([ask<Alert[]>("alerts").catch(() => []), ask<Alert[]>("alerts/history", { period: "7d", limit: 500 }).catch(() => [])]);
  const found = new Map([...over, ...active].filter((alert) => isOf(alert, run)).map((alert) => [alert.id, alert]));
  if (!found.size) return [];
  return [
    h("h3", {}, "Alerts of it"),
    h("ul", {}, ...[...found.values()].map((alert) => h("li", {}, severity(alert.severity), " ", link(toAlert(alert.id), alert.title), h("span", { class: "quiet" }, ` ${alert.status} `), moment(alert.firedAt)))),
  ];
}

function isOf(alert: Alert, run: Told): boolean {
  const { metadata = {} } = alert;
  return (metadata.subject !== undefined && metadata.subject !== "" && metadata.subject === run.id) || metadata.event === run.event.id;
}
