// Lists of alerts: those that live, and those of a period, filtered and page by page.

import { type Alert, type Envelope, envelope } from "../api";
import { byId, h, opener, renew, severity, table } from "../dom";
import { formatted, moment, span } from "../format";
import { address, type Chosen } from "./chosen";

const PAGE = 100; // Alerts that are listed together.

const EMPTY: Record<string, string> = {
  active: "Nothing is firing.",
  acknowledged: "Nobody has taken anything on.",
  suppressed: "Nothing is held back.",
  history: "There was no alert in this time.",
};

/** Ask for a list, and show it where that is `isNews`. */
export async function list(chosen: Chosen, isNews: () => boolean, choose: (part: Partial<Chosen>) => void, open: (id: string) => void): Promise<void> {
  const fields: Record<string, string> = { limit: String(PAGE) };
  if (chosen.severity) fields.severity = chosen.severity;
  if (chosen.rule) fields.rule = chosen.rule;
  const isPast = chosen.state === "history";
  if (isPast) Object.assign(fields, { period: chosen.period }, chosen.after ? { after: chosen.after } : {});
  else fields.status = chosen.state;
  const path = isPast ? "alerts/history" : "alerts";
  const found = await envelope<Alert[]>(path, fields);
  if (!isNews()) return;
  rows(chosen, found.data, open);
  more(chosen, found, choose);
  const asked = new URLSearchParams({ ...fields, limit: "10000", format: "csv" });
  byId("download").setAttribute("href", `/api/monitoring/${path}?${asked}`);
}

function rows(chosen: Chosen, found: readonly Alert[], open: (id: string) => void): void {
  const isFiltered = Boolean(chosen.severity || chosen.rule);
  if (found.length === 0) return renew(byId("list"), h("p", { class: "none" }, isFiltered ? "None with these filters." : (EMPTY[chosen.state] ?? "None.")));
  renew(
    byId("list"),
    table(
      `${chosen.state} alerts`,
      ["Alert", "Severity", "State", "What", "Since", "For", "#Value"],
      found.map((alert) => ({
        cells: [
          opener(address({ ...chosen, id: alert.id }), alert.title, () => open(alert.id)),
          severity(alert.severity),
          stateOf(alert),
          alert.message,
          moment(alert.timestamp),
          span((alert.resolution?.timestamp ?? Date.now()) - alert.timestamp),
          formatted(alert.value, alert.unit),
        ],
        data: { key: alert.id },
      })),
    ),
  );
}

/** What it is now, and what keeps it from being told. */
export function stateOf(alert: Alert): string {
  const by = alert.status === "suppressed" && alert.suppressedBy ? ` by ${alert.suppressedBy.reason.replaceAll("_", " ")}` : "";
  return `${alert.status}${by}${alert.flapping ? ", flapping" : ""}`;
}

/** The way to older ones, and back to the newest. */
function more(chosen: Chosen, found: Envelope<unknown[]>, choose: (part: Partial<Chosen>) => void): void {
  const to = (word: string, after: string) => h("button", { data: { key: `${word} ${after}` }, attributes: { type: "button" }, on: { click: () => choose({ after }) } }, word);
  const total = found.meta?.total;
  const left = typeof total === "number" && total > found.data.length ? h("span", { class: "quiet" }, `The newest ${found.data.length} of ${total}.`) : null;
  const children = [chosen.after ? to("Newest", "") : null, found.next ? to("Older", found.next) : null, left].filter((one) => one !== null);
  renew(byId("more"), ...children);
}
