// Runs as REST tells them, each joined of its events; and the words and addresses for them.

import { ask, envelope, type CloudEvent, quoted, type Stored } from "../../api";
import { h, link } from "../../dom";
import { address, isRun, type Kind, outcomeMark, tone } from "../../runs";

export const HEADINGS: Record<Kind, string> = { build: "Builds", validation: "Test suites", deployment: "Deployments" };

/** Milliseconds before and after a run in which what is told belongs to it. */
export const AROUND = 60_000;

export interface Part {
  phase: string;
  /** In milliseconds since 1970. */
  start: number;
  ms: number;
}

export interface Said extends Stored {
  chain?: string;
  cause?: string;
  vcs?: { repository?: string; revision?: string; ref?: string; change?: string };
  run?: { system?: string; pipeline?: string; id?: string; job?: string; attempt?: number; url?: string };
  artifact?: string;
}

export interface Told {
  id: string;
  kind: Kind;
  name: string;
  state: "running" | "ended" | "lost";
  startedAt: number | null;
  endedAt: number | null;
  event: Said;
  parts: { measures: Record<string, number>; labels: Record<string, string> }[];
}

/** What was heard, the newest first, and is not stored, or not to its end; and behind it what is stored. */
export function ahead(heard: readonly Told[], stored: readonly Told[]): Told[] {
  const known = new Map(stored.map((run) => [run.id, run]));
  const found = new Map<string, Told>();
  for (const run of heard) {
    const other = found.get(run.id) ?? known.get(run.id);
    if (!other || (other.state === "running" && run.state !== "running")) found.set(run.id, run);
  }
  return [...found.values(), ...stored.filter((run) => !found.has(run.id))];
}

/** What of all runs is looked at; it stands in the address. */
export type Chosen = Record<"name" | "service" | "environment" | "branch" | "outcome", string>;

const FIELDS: Record<Kind, string> = { build: "labels.build", validation: "labels.suite", deployment: "service" };

/** The chosen as REST's conditions. */
export function where(kind: Kind, { name, service, environment, branch, outcome }: Chosen): string {
  const told = !["", "running", "lost"].includes(outcome);
  return [
    name && `${FIELDS[kind]}=${quoted(name)}`,
    service && `service=${quoted(service)}`,
    environment && `environment=${quoted(environment)}`,
    branch && `vcs.ref=${quoted(branch)}`,
    told && `outcome=${quoted(outcome)}`,
    outcome === "lost" && "type~lost$",
  ]
    .filter(Boolean)
    .join(" and ");
}

export async function page(kind: Kind, chosen: Chosen, after = "", limit = 15): Promise<{ runs: Told[]; next: string | null }> {
  const state = chosen.outcome === "running" ? "running" : chosen.outcome ? "ended" : "";
  const answer = await envelope<Told[]>("runs", { kind, state, where: where(kind, chosen), after, limit });
  return { runs: answer.data, next: answer.next || null };
}

export const history = (kind: Kind, name: string, limit = 30): Promise<Told[]> =>
  ask<Told[]>("runs", { kind, state: "ended", where: `${FIELDS[kind]}=${quoted(name)}`, limit, whole: "true" });

/** What the stream tells of a run, as REST will once it is stored. */
export function heard(event: CloudEvent): Told | undefined {
  const kind = isRun(event.type);
  if (!kind) return undefined;
  const at = Date.parse(event.time);
  const step = event.type.replace(/^io\.bers\./, "").split(".")[1];
  const facts = event.data ?? {};
  const labels = facts.labels ?? {};
  const state = step === "started" ? "running" : step === "lost" ? "lost" : "ended";
  const said: Said = { ...facts, id: event.id, source: event.source, type: event.type, subject: event.subject ?? "", timestamp: at };
  return {
    id: event.subject || event.id,
    kind,
    name: labels.suite || labels.build || facts.service || labels.name || event.subject?.split("/")[0] || event.id,
    state,
    startedAt: state === "running" ? at : facts.duration_ms === undefined ? null : at - facts.duration_ms,
    endedAt: state === "running" ? null : at,
    event: said,
    parts: [],
  };
}

export const outcome = (run: Told): string => (run.state === "ended" ? (run.event.outcome ?? "finished") : run.state);
export const statusOf = (run: Told): string => tone(outcome(run));
export const marked = (run: Told): HTMLElement => outcomeMark(outcome(run));

export const isRollback = ({ event }: Told): boolean => event.type.includes("rolledback") || event.labels?.kind === "rollback";

/** Its name, and what tells it from others of that name. */
export function named(run: Told): HTMLElement {
  const apart = run.id.startsWith(`${run.name}/`) ? run.id.slice(run.name.length + 1) : run.id === run.name ? "" : run.id;
  const short = apart.length > 24 ? `${apart.slice(0, 23)}…` : apart;
  return h("span", {}, link(address(run.id), run.name), apart ? h("span", { class: "quiet", attributes: { title: run.id } }, ` ${short}`) : null);
}

/** Where it was built from: the branch, and the beginning of the commit. */
export function sources({ event: { vcs } }: Told): HTMLElement | string {
  const ref = vcs?.ref?.replace(/^refs\/(heads|tags)\//, "");
  if (!ref && !vcs?.revision) return "–";
  return h("span", {}, ref ?? "", vcs?.revision ? h("code", { class: "quiet", attributes: { title: vcs.revision } }, ` ${vcs.revision.slice(0, 8)}`) : null);
}

/** A measure of its own, or of a part with a label. */
export function measured(run: Told, metric: string, label = "", value = ""): number | undefined {
  if (!label) return run.event.measures?.[metric];
  return run.parts.find((part) => part.labels[label] === value && metric in part.measures)?.measures[metric];
}

export const texts = (value: unknown): string[] => (Array.isArray(value) ? value.filter((one): one is string => typeof one === "string") : []);
