// A question before something is done: who does it, what they say of it, and what came of it.

import { Refused, Unreachable } from "./api";
import { focusNear, focusWithin, h, show } from "./dom";
import { recall, remember } from "./kept";

interface Field {
  name: string;
  label: string;
  value?: string;
  required?: boolean;
}

export interface Question {
  title: string;
  /** What will happen, in a sentence. */
  says: string;
  /** The word on the button that does it. */
  verb: string;
  operator?: boolean;
  fields?: readonly Field[];
  act: (answers: Record<string, string>) => Promise<string>;
  /** What is said besides, whether it was done or refused. */
  noted?: () => Promise<string>;
}

/** Ask, do it, and say what came of it; resolves to whether it was done. */
export function asked(question: Question): Promise<boolean> {
  const fields: readonly Field[] = [
    ...(question.operator ? [{ name: "operator", label: "Your name", value: recall("operator") }] : []),
    ...(question.fields ?? []),
  ];
  const said = h("p", { class: "said", attributes: { role: "status" } });
  const noted = h("p", { class: "quiet", attributes: { role: "status" } });
  const inputs = fields.map((one) => {
    const input = h("input", { attributes: { name: one.name, value: one.value ?? "", autocomplete: "off" } });
    input.required = one.required === true;
    return h("label", {}, one.label, input);
  });
  const act = h("button", { class: "act", attributes: { type: "submit" } }, question.verb);
  const close = h("button", { attributes: { type: "button" }, on: { click: () => dialog.close() } }, "Cancel");
  const form = h("form", {}, h("h2", { attributes: { id: "dialog-title" } }, question.title), h("p", { attributes: { id: "dialog-says" } }, question.says), ...inputs, said, noted, h("p", { class: "buttons" }, act, close));
  const dialog = h("dialog", { attributes: { "aria-labelledby": "dialog-title", "aria-describedby": "dialog-says" } }, form);
  document.body.append(dialog);
  const before = focusWithin(document.body);
  return new Promise((resolve) => {
    let done = false;
    let doing: Promise<unknown> = Promise.resolve();
    const submitted = async () => {
      act.disabled = true;
      const answers = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value).trim()]));
      if (answers.operator) remember("operator", answers.operator);
      try {
        show(said, await question.act(answers));
        done = true;
        show(act, "Done");
        close.remove();
      } catch (fault) {
        show(said, worded(fault));
      }
      show(noted, (await question.noted?.().catch(() => "")) ?? "");
      act.disabled = false;
      act.focus(); // A button that was disabled has lost it.
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (done) dialog.close();
      else if (!act.disabled) doing = submitted();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (!before[0]?.isConnected) focusNear(before); // What was pressed is gone meanwhile, because of what was done.
      void doing.then(() => resolve(done)); // Who closes it early has it done all the same.
    });
    dialog.showModal();
  });
}

/** What is wrong, and what would be right. */
export function worded(fault: unknown): string {
  if (fault instanceof Unreachable) return `The server did not answer: ${fault.message}`;
  if (!(fault instanceof Refused)) return String(fault);
  const details = fault.details.map((one) => (one.path ? `${one.path}: ${one.message}` : one.message));
  return [fault.message, ...details, fault.hint].filter(Boolean).join(" · ");
}
