// What happened beside what was measured: deployments, and alerts.

import { toAlert } from "../alerts/chosen";
import { ask, type Stored } from "../api";
import type { Note } from "../chart";
import { h, link, table } from "../dom";
import { moment } from "../format";
import type { Bounds } from "./chosen";

const MOST = 1000; // Of each; the newest.
const LISTED = 50;

export interface Happened extends Note {
  href: string;
}

export async function happened([from, to]: Bounds): Promise<Happened[]> {
  const [deployments, alerts] = await Promise.all([
    ask<Stored[]>("records", { type: "deployment.finished", limit: MOST, since: Math.round(from), until: Math.round(to) }).catch(() => []),
    ask<{ id: string; firedAt: number; title: string }[]>("alerts/history", { period: Math.max(1, Math.round(Date.now() - from)), limit: MOST }).catch(() => []),
  ]);
  return [
    ...deployments.map((one): Happened => ({ at: one.timestamp, text: said(one), kind: "deployment", href: "/runs" })),
    ...alerts.map((one): Happened => ({ at: one.firedAt, text: one.title, kind: "alert", href: toAlert(one.id, "history") })),
  ]
    .filter((note) => note.at >= from && note.at <= to)
    .sort((a, b) => b.at - a.at);
}

function said(one: Stored): string {
  const failed = one.outcome && one.outcome !== "success" ? ` (${one.outcome})` : "";
  return `Deployed ${one.service ?? one.subject ?? ""} ${one.version ?? ""}`.trim() + failed;
}

/** All of them as a table, closed until somebody wants to read it. */
export function listed(notes: readonly Happened[]): Node {
  const rows = notes.slice(0, LISTED).map((note) => ({ data: { key: `${note.at} ${note.text}` }, cells: [moment(note.at), note.kind, link(note.href, note.text)] }));
  const count = (kind: string, word: string) => {
    const many = notes.filter((note) => note.kind === kind).length;
    return `${many} ${word}${many === 1 ? "" : "s"}`;
  };
  const left = notes.length > LISTED ? `, the newest ${LISTED} of them` : "";
  return h("details", {}, h("summary", {}, `${count("deployment", "deployment")} and ${count("alert", "alert")}${left}`), table("What happened", ["When", "What", ""], rows));
}
