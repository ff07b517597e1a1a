// Which labels a metric has: offered where somebody filters by them, or wants a line for each.

import { ask, type MetricAnswer } from "../api";
import { byId, h } from "../dom";
import { labelled } from "../format";

const HISTORY = "30d";
const MOST = 200;

/** Offer the labels that were seen lately; where they cannot be had, whatever is written is asked for. */
export async function offer(name: string, by: string): Promise<void> {
  const found = await ask<MetricAnswer>(`metrics/${encodeURIComponent(name)}`, { period: HISTORY, points: 1, limit: MOST, fields: "count" }).catch(() => null);
  const series = (found?.series ?? []).map((one) => one.labels);
  const pairs = new Set(series.flatMap(labelled));
  const names = new Set([...series.flatMap((labels) => Object.keys(labels)), ...(by && by !== "*" ? [by] : [])]);
  byId("known-labels").replaceChildren(...[...pairs].sort().map((one) => option(one)));
  const select = byId("by") as HTMLSelectElement;
  select.replaceChildren(option("", "all in one, with percentiles"), ...[...names].sort().map((one) => option(one)), ...(series.length > 1 || by === "*" ? [option("*", "every series")] : []));
  select.value = by;
}

const option = (value: string, says = value) => h("option", { attributes: { value } }, says);
