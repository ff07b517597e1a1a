// What stands where: of each service and environment, the newest deployment, and the newest that went well.

import { h, table } from "../../dom";
import { moment } from "../../format";
import { isRollback, marked, named, outcome, statusOf, type Told } from "./told";

export function deployed(runs: readonly Told[]): HTMLElement[] {
  const places = new Map<string, Told[]>();
  for (const run of runs) {
    if (run.state === "running") continue;
    const at = `${run.name}\n${run.event.environment ?? "–"}`;
    places.set(at, [...(places.get(at) ?? []), run]);
  }
  if (!places.size) return [];
  const rows = [...places].sort().map(([at, own]) => {
    const [service = "", environment = ""] = at.split("\n");
    const [newest] = own;
    const good = own.find((run) => outcome(run) === "success" && !isRollback(run));
    const failed = own.filter((run) => statusOf(run) === "unhealthy").length;
    const back = own.filter(isRollback).length;
    return {
      cells: [
        service,
        environment,
        newest ? h("span", {}, marked(newest), isRollback(newest) ? h("span", { class: "tag" }, "rollback") : null, " ", moment(newest.endedAt ?? 0)) : "–",
        good ? h("span", {}, good.event.version ?? good.event.vcs?.revision?.slice(0, 8) ?? named(good), " ", moment(good.endedAt ?? 0)) : "none",
        `${own.length}, ${failed} failed, ${back} taken back`,
      ],
      data: { key: at },
    };
  });
  return [h("h3", {}, "Where things are"), table("Where things are", ["Service", "Environment", "Newest", "Last that went well", "Of those below"], rows), h("h3", {}, "All of them")];
}
