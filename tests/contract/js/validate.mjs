// The official AsyncAPI parser reads the document: `node validate.mjs asyncapi.json`. An error makes it fail.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const ERROR = 0;
const KINDS = ["error", "warning", "information", "hint"];

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
for (const { severity, code, path, message } of diagnostics) {
  console.log(`${KINDS[severity]} ${code} at ${path.join(".") || "(root)"}: ${message}`);
}
if (!document || diagnostics.some(({ severity }) => severity === ERROR)) {
  console.log("The AsyncAPI document is not valid.");
  process.exit(1);
}
const { length: channels } = document.channels().all();
const { length: operations } = document.operations().all();
const { length: messages } = document.messages().all();
if (!channels || !operations || !messages) {
  console.log("The AsyncAPI document is empty.");
  process.exit(1);
}
console.log(`asyncapi.json is valid: ${channels} channel, ${operations} operations, ${messages} messages.`);
