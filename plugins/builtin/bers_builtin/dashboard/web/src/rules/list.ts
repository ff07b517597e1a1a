// The rules of the server, and what each makes of things now.

import { ask } from "../api";
import { toRule } from "../alerts/chosen";
import { byId, h, mark, opener, renew, severity, table } from "../dom";
import { formatted, moment } from "../format";
import type { Report } from "./rule";

const TONES: Record<string, string> = { active: "unhealthy", acknowledged: "degraded", suppressed: "unknown", pending: "degraded", ok: "healthy" };
const WORDS: Record<string, string> = { active: "firing", suppressed: "silenced" };
const PRESSING = ["active", "acknowledged", "suppressed", "pending", "ok"];

/** List them, the pressing ones first; `open` shows one. */
export async function rules(isNews: () => boolean, open: (id: string) => void): Promise<void> {
  const found = await ask<Report[]>("alerts/rules");
  if (!isNews()) return;
  found.sort((a, b) => PRESSING.indexOf(a.state) - PRESSING.indexOf(b.state) || Number(Boolean(a.hint)) - Number(Boolean(b.hint)) || a.name.localeCompare(b.name));
  renew(
    byId("list"),
    h("p", { class: "buttons" }, h("button", { data: { key: "new rule" }, attributes: { type: "button" }, on: { click: () => open("new") } }, "New rule")),
    table(
      "Rules",
      ["Rule", "State", "Severity", "Fires while", "#Last value", "Last looked at"],
      found.map((one) => ({
        data: { key: one.id },
        cells: [
          opener(toRule(one.id), one.name, () => open(one.id)),
          standing(one),
          severity(one.severity),
          watched(one),
          formatted(one.lastValue, one.unit),
          one.lastEvaluation === null ? "never" : moment(one.lastEvaluation),
        ],
      })),
    ),
  );
}

/** What it looks at, and why that never comes where it does not. */
function watched(one: Report): HTMLElement {
  const says = one.condition.startsWith(one.type) ? [one.condition] : [h("code", {}, one.type), ` ${one.condition}`];
  return h("div", {}, ...says, one.hint ? h("p", { class: "quiet why" }, one.hint.replace(/^it can never fire as things are: /, "")) : null);
}

/** What it is now, in a word. */
export function standing(one: Report): HTMLElement {
  if (one.hint && one.state === "ok") return mark("can never fire", "unknown");
  const many = one.alerts > 1 ? ` (${one.alerts})` : "";
  return mark(`${WORDS[one.state] ?? one.state}${many}`, TONES[one.state] ?? "unknown");
}
