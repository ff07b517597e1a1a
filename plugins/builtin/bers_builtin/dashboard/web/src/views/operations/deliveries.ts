// Who could not be told of something, and that it be tried again.

import { ask } from "../../api";
import { button } from "../../deeds";
import { byId, h, renew, table } from "../../dom";
import { moment } from "../../format";

interface Delivery {
  id: string;
  channel: string;
  subject: string;
  type: string;
  attempts: number;
  finishedAt: number | null;
  lastError: string | null;
}

export async function deliveries(sinks: readonly string[]): Promise<void> {
  const found = await Promise.all(
    sinks.map(async (sink) => (await ask<Delivery[]>(`${sink}/deliveries`, { status: "failed", limit: 50 })).map((one) => ({ sink, ...one }))),
  );
  const all = found.flat();
  if (all.length === 0) return renew(byId("deliveries"), h("p", { class: "none" }, "None."));
  const rows = all.map((one) => ({
    cells: [
      h("span", {}, one.channel, h("span", { class: "quiet" }, ` ${one.sink}`)),
      one.type,
      one.subject,
      one.attempts,
      one.finishedAt ? moment(one.finishedAt) : "–",
      one.lastError ?? "",
      button(
        {
          title: `Send it to ${one.channel} again`,
          says: `${one.type} of ${one.subject} was given up after ${one.attempts} attempts. It is tried again, unless it is too late for it.`,
          verb: "Retry",
          path: `${one.sink}/deliveries/retry`,
          body: { channel: one.channel, id: one.id },
          told: (answer: { retried: number; tooLate: number }) => (answer.retried ? "It is sent again." : "It is too late for it: it is not sent."),
        },
        one.id,
      ),
    ],
    data: { key: one.id },
  }));
  return renew(byId("deliveries"), table("Notifications that failed", ["Channel", "What", "About", "#Attempts", "Given up", "Last fault", ""], rows));
}
