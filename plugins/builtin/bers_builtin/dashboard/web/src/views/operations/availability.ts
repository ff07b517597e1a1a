// When this node was there at all, against what was promised.

import { drawnMonth, month } from "../../available";
import { byId, h, renew } from "../../dom";
import { formatted, moment } from "../../format";

export async function availability(): Promise<void> {
  const one = await month();
  const left = one.leftMinutes === null ? "" : `, ${formatted(one.leftMinutes)} of ${formatted(one.budgetMinutes)} min are left of the budget`;
  const says = `${formatted(one.percent, "%")} with a target of ${formatted(one.target, "%")}${left}; ${one.gapCount} gaps`;
  renew(
    byId("availability"),
    h("p", {}, says),
    drawnMonth(says, one),
    h("p", { class: "quiet" }, "From ", moment(one.from)),
    one.away.length ? h("ul", { class: "quiet" }, ...one.away.slice(-10).reverse().map((gap) => h("li", {}, gap.says))) : "",
  );
}
