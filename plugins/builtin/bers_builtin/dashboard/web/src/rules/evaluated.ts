// What a rule made of what it saw, as a picture.

import { h } from "../dom";
import { formatted, localText } from "../format";
import { plot } from "../plot";
import { strip } from "../strip";
import type { Seen, Story } from "./rule";

/** What it saw, beside what it is to stay below or above. */
export function evaluated(why: Story): Node {
  const dots = why.evaluations.flatMap((one) => (one.value === null ? [] : [dot(one, one.value, why.unit)])).sort((a, b) => a.at - b.at);
  if (dots.length) return plot("What it saw", [{ name: why.condition, dots }], why.unit, why.threshold);
  return why.evaluations.length ? decisions(why) : h("span");
}

/** Where an event alone is enough: what was concluded, each until there was something else to look at. */
function decisions(why: Story): Node {
  const seen = [...why.evaluations].sort((a, b) => a.time - b.time);
  const [from, to] = [seen[0]?.time ?? 0, Date.now()];
  const stretches = seen.map((one, at) => ({ status: TONES[one.decision] ?? "unknown", from: one.time, to: seen[at + 1]?.time ?? to, says: `${localText(new Date(one.time))}: ${one.decision}` }));
  const bad = seen.filter((one) => one.decision === "breaching").length;
  const says = `What it concluded: ${seen.length} from ${localText(new Date(from))} on, ${bad} of them breaching`;
  return h("figure", {}, h("figcaption", { class: "quiet" }, says), strip(says, stretches, from, to));
}

const TONES: Record<string, string> = { breaching: "unhealthy", good: "healthy" };

const dot = (one: Seen, value: number, unit: string) => ({
  at: one.time,
  value,
  status: one.decision === "breaching" ? "unhealthy" : "healthy",
  says: `${formatted(value, unit)} at ${localText(new Date(one.time))}: ${one.decision}`,
});
