// The server itself: its checks and configuration, what waits to be looked after, and what is done about it.

import { may } from "../../deeds";
import { byId } from "../../dom";
import type { Head } from "../../head";
import "../../rooms.css";
import type { View } from "../../view";
import { Audit } from "./audit";
import { availability } from "./availability";
import { caches } from "./caches";
import { channels } from "./channels";
import { Checks } from "./checks";
import { configuration } from "./configuration";
import { deliveries } from "./deliveries";
import { Letters } from "./letters";

export function operations(_main: HTMLElement, head: Head): View {
  const sinks = byId("channels").dataset.sinks?.split(" ").filter(Boolean); // Not told where the server did not know them.
  const [checks, letters, audit] = [new Checks(), new Letters(), new Audit()];

  head.on((report) => checks.tell(report));

  /** One that cannot be asked must not keep the others from being shown. */
  async function load(): Promise<void> {
    const rooms = [checks.show(), availability(), configuration(), caches(), letters.show(), ...(sinks ? [channels(sinks), deliveries(sinks)] : []), ...(may("admin") ? [audit.show()] : [])];
    const failed = (await Promise.allSettled(rooms)).find((room) => room.status === "rejected");
    if (failed) throw failed.reason;
  }

  return { load, every: 10_000 };
}
