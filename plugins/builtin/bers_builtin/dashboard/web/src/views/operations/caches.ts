// What is kept to be quick, and what measures by itself.

import { ask, Refused } from "../../api";
import { button, buttons } from "../../deeds";
import { byId, h, renew } from "../../dom";
import { formatted } from "../../format";

interface Environment {
  environment: string;
  source: string;
  resolutionTime: number | null;
}

/** What it is; nothing before it was looked up once. */
const resolved = (): Promise<Environment | null> =>
  ask<Environment>("environment-resolver").catch((fault: unknown) => {
    if (fault instanceof Refused) return null;
    throw fault;
  });

export async function caches(): Promise<void> {
  const place = byId("caches");
  const environment = "resolves" in place.dataset ? await resolved() : null;
  renew(
    place,
    environment
      ? h("p", {}, h("strong", {}, environment.environment), h("span", { class: "quiet" }, ` from ${environment.source}, resolved in ${formatted(environment.resolutionTime, "ms")}`))
      : "",
    buttons(
      button({
        title: "Forget the environment",
        says: "What was resolved is forgotten, and looked up again at once.",
        verb: "Clear the resolver's cache",
        path: "environment-resolver/clear-cache",
        told: (answer: { cleared: number; generation: number }) => `${answer.cleared} forgotten; generation ${answer.generation} is resolved.`,
      }),
      button({
        title: "Drop decoded pages",
        says: "The next questions read from disk. What is stored stays.",
        verb: "Clear the cache of metrics",
        path: "metrics/clear-cache",
        told: (answer: { cleared: number; bytes: number }) => `${answer.cleared} pages dropped, ${formatted(answer.bytes, "By")}.`,
      }),
      button({
        title: "Restart what measures",
        says: "Every source that measures by itself is started anew. What is stored stays; meanwhile some readings are missing.",
        verb: "Restart the collector",
        path: "metrics/restart",
        told: (answer: { restarted: string[] }) => `Started anew: ${answer.restarted.join(", ")}.`,
      }),
    ),
  );
}
