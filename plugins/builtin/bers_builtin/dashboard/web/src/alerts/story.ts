// One alert: why it fires, what to do about it, and what became of it.

import { type Alert, ask } from "../api";
import { may } from "../deeds";
import { worded } from "../dialog";
import { byId, h, link, mark, renew, severity, table } from "../dom";
import { formatted, labelled, moment } from "../format";
import { evaluated } from "../rules/evaluated";
import type { Story as RuleStory } from "../rules/rule";
import { toRule } from "./chosen";
import { acknowledge, resolve, silence, unacknowledge } from "./deeds";
import { stateOf } from "./list";

interface Story {
  alert: Alert;
  condition: string;
  log: { time: number; kind: string; from: string | null; to: string; reason: { sentence: string } }[];
  events: { time: number; id: string; type: string; subject: string; says: string }[];
  leftOut: number;
  told: { channel: string; type: string; status: string; attempts: number; error?: string }[];
}

export async function story(wanted: string, isNews: () => boolean): Promise<void> {
  let found: Story;
  try {
    found = await ask<Story>(`alerts/${encodeURIComponent(wanted)}/story`);
  } catch (fault) {
    if (isNews()) renew(byId("one"), h("p", { class: "missing" }, worded(fault)));
    return;
  }
  const why = await ask<RuleStory>(`alerts/rules/${encodeURIComponent(found.alert.ruleId)}`).catch(() => null);
  if (isNews()) renew(byId("one"), head(found, why), ...evidence(found, why), ...past(found));
}

/** What it is, and beside it what to do. */
function head({ alert, condition }: Story, why: RuleStory | null): Node {
  const lives = alert.status !== "resolved" && alert.status !== "pending";
  const isTaken = alert.status === "acknowledged";
  const others = Object.entries(alert.annotations).filter(([name]) => name !== "step");
  const labels = labelled(alert.labels);
  return h(
    "div",
    { class: "beside" },
    h(
      "div",
      {},
      h("h2", {}, alert.title, " ", severity(alert.severity), " ", mark(stateOf(alert), lives ? "degraded" : "healthy")),
      h("p", {}, alert.message),
      h("p", {}, h("strong", {}, "Fires while "), condition || "its rule says so", ". ", capital(alert.reason?.sentence ?? "")),
      h("p", { class: "quiet" }, "Since ", moment(alert.timestamp), alert.count > 1 ? `, seen ${alert.count} times` : "", labels.length ? `, ${labels.join(", ")}` : ""),
      said("Acknowledged", alert.acknowledgment),
      said("Resolved", alert.resolution),
    ),
    h(
      "div",
      {},
      h("h3", {}, "What to do"),
      h("p", { class: alert.annotations.step ? "step" : "none" }, alert.annotations.step ?? "Its rule names no step."),
      ...others.map(([name, text]) => h("p", { class: "quiet" }, `${name}: ${text}`)),
      h(
        "p",
        { class: "buttons" },
        ...(may("acknowledge") ? [
          lives && !isTaken ? act("Acknowledge", alert, acknowledge, "act") : null,
          isTaken ? act("Give back", alert, unacknowledge) : null,
          lives ? act("Resolve", alert, resolve) : null,
          act("Silence", alert, silence),
        ] : []),
        why ? link(toRule(why.id), "Its rule") : null,
      ),
    ),
  );
}

const act = (word: string, alert: Alert, deed: (alert: Alert) => Promise<void>, kind = "") =>
  h("button", { class: kind, data: { key: `${word} ${alert.id}` }, attributes: { type: "button" }, on: { click: () => void deed(alert) } }, word);

/** The events behind it, and what the rule made of what it saw. */
function evidence({ alert, events, leftOut }: Story, why: RuleStory | null): Node[] {
  const rows = (why?.evaluations ?? []).map((one) => ({ cells: [moment(one.time), formatted(one.value, alert.unit), one.samples ?? "–", one.decision, one.reason] }));
  return [
    h("h3", {}, "Why it fired"),
    ...(why ? [evaluated(why), table("The rule's last evaluations", ["When", "#Value", "#Samples", "Decision", "Why"], rows)] : [h("p", { class: "none" }, "There is no such rule any more.")]),
    h("h3", {}, "The events behind it"),
    events.length
      ? table("Events", ["When", "Event", "About", "Said"], events.map((event) => ({ cells: [moment(event.time), event.type, event.subject, event.says] })))
      : h("p", { class: "none" }, "None are kept any more."),
    ...(leftOut ? [h("p", { class: "quiet" }, `${leftOut} more between the first and the last.`)] : []),
  ];
}

/** Every step of its life, and who was told. */
function past({ log, told }: Story): Node[] {
  return [
    h("h3", {}, "What happened"),
    table("Steps in the life of this alert", ["When", "Step", "Why"], log.map((step) => ({ cells: [moment(step.time), step.from ? `${step.from} → ${step.to}` : step.to, step.reason.sentence] }))),
    h("h3", {}, "Who was told"),
    told.length
      ? table("Notifications", ["Channel", "What", "State", "#Attempts"], told.map((one) => ({ cells: [one.channel, one.type, one.error ? `${one.status}: ${one.error}` : one.status, one.attempts] })))
      : h("p", { class: "none" }, "Nobody: no channel is meant."),
  ];
}

const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);

function said(word: string, answer: Alert["acknowledgment"] | Alert["resolution"]): HTMLElement {
  const node = h("p", { class: "quiet" });
  if (!answer) node.hidden = true;
  else {
    const until = "expires" in answer && answer.expires ? [", until ", moment(answer.expires)] : [];
    renew(node, `${word} by ${answer.operator || "the rule"} at `, moment(answer.timestamp), answer.notes ? `: ${answer.notes}` : "", ...until);
  }
  return node;
}
