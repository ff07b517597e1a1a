// Who is told of alerts, how that goes, and a test of it.

import { ask } from "../../api";
import { button, buttons } from "../../deeds";
import { byId, h, mark, renew, table } from "../../dom";
import { formatted, moment } from "../../format";

interface Channel {
  name: string;
  state: string;
  waiting: number;
  givenUp: number;
  deliveredAt: number | null;
  failingSince: number | null;
  lastError: string | null;
}

const STATES: Record<string, string> = { ready: "healthy", failing: "degraded", disabled: "unhealthy", removed: "unknown" };

export async function channels(sinks: readonly string[]): Promise<void> {
  const found = await Promise.all(sinks.map(async (sink) => (await ask<Channel[]>(`${sink}/channels`)).map((one) => ({ sink, ...one }))));
  const all = found.flat();
  if (all.length === 0) return renew(byId("channels"), h("p", { class: "none" }, "No channel is told of anything: `channels` of a sink says who is."));
  const rows = all.map((one) => ({
    cells: [
      h("span", {}, one.name, h("span", { class: "quiet" }, ` ${one.sink}`)),
      h("span", {}, mark(one.state, STATES[one.state] ?? "degraded"), one.failingSince ? h("span", { class: "quiet" }, " since ", moment(one.failingSince)) : null),
      one.waiting,
      one.givenUp,
      one.deliveredAt ? moment(one.deliveredAt) : "never",
      one.lastError ?? "",
      buttons(
        button(
          {
            title: `Test ${one.name}`,
            says: "A test is sent to it, as an alert would be; whoever is behind it sees it.",
            verb: "Test",
            path: `${one.sink}/test`,
            body: { channel: one.name },
            told: (answer: { taken: boolean; status: number | null; answer: string; durationMs: number }) =>
              `${answer.taken ? "It was taken" : "It was not taken"}${answer.status ? `, with ${answer.status}` : ""}, in ${formatted(answer.durationMs, "ms")}${answer.answer ? `: ${answer.answer}` : "."}`,
          },
          `${one.sink} ${one.name}`,
        ),
        button(
          {
            title: `Enable ${one.name}`,
            says: "It is told again, and whatever waits for it is tried at once.",
            verb: "Reset",
            path: `${one.sink}/channels/reset`,
            body: { channel: one.name },
            told: (answer: Channel) => `It is ${answer.state}, and ${answer.waiting} wait for it.`,
          },
          `${one.sink} ${one.name}`,
        ),
      ),
    ],
    data: { key: `${one.sink} ${one.name}` },
  }));
  return renew(byId("channels"), table("Channels", ["Channel", "State", "#Waiting", "#Given up", "Told last", "Last fault", ""], rows));
}
