// Who changed what, page by page, and whether that is as it was written.

import { ask, envelope } from "../../api";
import { buttons, type Entry, who } from "../../deeds";
import { worded } from "../../dialog";
import { byId, h, renew, show, table } from "../../dom";
import { moment } from "../../format";
import { complain } from "../../view";

interface Proof {
  sound: boolean;
  rows: number;
  faults: { row: number; fault: string; remedy: string }[];
  notes: string[];
}

const MOST = 30;

export class Audit {
  #older: Entry[] = [];
  #next: number | null = null;

  async show(): Promise<void> {
    const { data, meta } = await envelope<Entry[]>("audit", { limit: MOST });
    const oldest = data.at(-1)?.id ?? 0;
    if (!this.#older.length) this.#next = (meta?.next as number | null) ?? null;
    this.#draw([...data, ...this.#older.filter((one) => one.id < oldest)]);
  }

  #draw(entries: readonly Entry[]): void {
    const rows = entries.map((one) => ({
      cells: [moment(one.time), who(one), [one.action.replace("/api/monitoring/", ""), one.target].filter(Boolean).join(" "), one.notes, one.outcome.replaceAll("_", " ")],
      data: { key: String(one.id) },
    }));
    renew(
      byId("audit"),
      buttons(h("button", { data: { key: "verify" }, attributes: { type: "button" }, on: { click: () => void verify() } }, "Verify")),
      entries.length ? table("Who changed what", ["When", "Who", "What", "Notes", "Outcome"], rows) : h("p", { class: "none" }, "Nobody changed anything yet."),
      buttons(this.#next ? h("button", { data: { key: "older" }, attributes: { type: "button" }, on: { click: () => void this.#more().catch(complain) } }, "Older") : null),
    );
  }

  async #more(): Promise<void> {
    if (this.#next === null) return;
    const { data, meta } = await envelope<Entry[]>("audit", { limit: MOST, before: this.#next });
    this.#older.push(...data);
    this.#next = (meta?.next as number | null) ?? null;
    await this.show();
  }
}

async function verify(): Promise<void> {
  try {
    const proof = await ask<Proof>("audit/verify");
    const faults = proof.faults.map((one) => `row ${one.row}: ${one.fault}. ${one.remedy}`);
    show(byId("proof"), [proof.sound ? `All ${proof.rows} rows are as they were written.` : "The audit is not as it was written.", ...faults, ...proof.notes].join(" "));
  } catch (fault) {
    show(byId("proof"), worded(fault));
  }
}
