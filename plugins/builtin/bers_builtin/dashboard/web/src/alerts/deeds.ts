// What people do about alerts: each is asked for a name and notes, and then said what came of it.

import { type Alert, tell } from "../api";
import { asked, type Question } from "../dialog";
import { span } from "../format";
import { reload } from "../view";

const NOTES = { name: "notes", label: "Notes" };

export const acknowledge = (alert: Alert) =>
  answer(alert, "acknowledge", {
    title: "Acknowledge",
    says: `${alert.title} stays on the list, and nobody else is called for it.`,
    verb: "Acknowledge",
    fields: [{ ...NOTES, label: "What is being done" }, { name: "expires", label: "Until it is active again (30m, 4h; empty: as configured)" }],
  });

export const unacknowledge = (alert: Alert) =>
  answer(alert, "unacknowledge", {
    title: "Give back",
    says: `${alert.title} is nobody's again: it is active, and the next contact is called when it is time.`,
    verb: "Give it back",
    fields: [{ ...NOTES, label: "Why" }],
  });

export const resolve = (alert: Alert) =>
  answer(alert, "resolve", {
    title: "Resolve",
    says: `${alert.title} is over. It fires again if its condition does.`,
    verb: "Resolve",
    fields: [{ ...NOTES, label: "What was done" }],
  });

async function answer(alert: Alert, path: string, how: Omit<Question, "act">): Promise<void> {
  await done({
    ...how,
    operator: true,
    act: async (answers) => {
      const body = Object.fromEntries(Object.entries(answers).filter(([, value]) => value));
      const now = await tell<Alert>("POST", `alerts/${encodeURIComponent(alert.id)}/${path}`, body);
      return `It is ${now.status} now, and written into the audit.`;
    },
  });
}

export interface Silence {
  id: string;
  state: string;
  matchers: string[];
  createdBy: string;
  comment: string;
  starts: number;
  ends: number;
  endedBy: string | null;
  suppressing: number;
}

export const silence = (alert: Alert) => silenceThose([`rule=${alert.rule}`], `alerts of the rule ${alert.rule}`);

/** Silence what matches; who asks for nothing in particular writes the matchers. */
export function silenceThose(matchers: readonly string[], which: string): Promise<void> {
  const own = matchers.length === 0;
  return done({
    title: "Silence",
    says: own ? "Nobody is told of the alerts of which all of this holds." : `Nobody is told of ${which} for a while, critical ones included.`,
    verb: "Silence",
    operator: true,
    fields: [
      ...(own ? [{ name: "matchers", label: "Which alerts (rule~^Build environment=staging)", required: true }] : []),
      { name: "duration", label: "For how long (30m, 2h, 1d)", value: "2h", required: true },
      { name: "comment", label: "Why", required: true },
    ],
    act: async ({ matchers: written, ...answers }) => {
      const made = await tell<Silence>("POST", "silences", { ...answers, matchers: own ? split(written ?? "") : matchers });
      return `Silenced for ${span(made.ends - Date.now())}.`;
    },
  });
}

/** Matchers are apart by spaces, but for those within quotes. */
const split = (text: string): string[] => [...text.matchAll(/(?:"[^"]*"|\S)+/g)].map(([one]) => one.replaceAll('"', ""));

export const expire = (one: Silence) =>
  done({
    title: "End the silence",
    says: `Alerts with ${one.matchers.join(" and ")} are told again.`,
    verb: "End it",
    operator: true,
    fields: [{ ...NOTES, label: "Why" }],
    act: async (answers) => {
      await tell("DELETE", `silences/${encodeURIComponent(one.id)}`, answers);
      return "It is over.";
    },
  });

async function done(question: Question): Promise<void> {
  if (await asked(question)) await reload();
}
