// What of the alerts is looked at, as the address says it.

export interface Chosen {
  state: string;
  id: string | null;
  /** The name of a rule whose alerts are listed; or the id of the rule that is shown. */
  rule: string;
  severity: string;
  period: string;
  after: string;
}

export const LISTS = ["active", "acknowledged", "suppressed", "history"];
const STATES = [...LISTS, "silences", "rules", "statistics"];

export function read(): Chosen {
  const asked = new URLSearchParams(location.search);
  const state = asked.get("state") ?? "active";
  return {
    state: STATES.includes(state) ? state : "active",
    id: asked.get("id"),
    rule: asked.get("rule") ?? "",
    severity: asked.get("severity") ?? "",
    period: asked.get("period") ?? "7d",
    after: asked.get("after") ?? "",
  };
}

/** One alert, in the list of that state. */
export const toAlert = (id: string, state = ""): string => `/alerts?${new URLSearchParams({ ...(state ? { state } : {}), id })}`;

/** One rule, by its id or its name. */
export const toRule = (rule: string): string => `/alerts?${new URLSearchParams({ state: "rules", rule })}`;

export function address(chosen: Chosen): string {
  const asked = new URLSearchParams({ state: chosen.state });
  const isPast = chosen.state === "history";
  if (LISTS.includes(chosen.state) && chosen.severity) asked.set("severity", chosen.severity);
  if (isPast || chosen.state === "statistics") asked.set("period", chosen.period);
  if (isPast && chosen.after) asked.set("after", chosen.after);
  if (chosen.rule) asked.set("rule", chosen.rule);
  if (chosen.id) asked.set("id", chosen.id);
  return `/alerts?${asked}`;
}
