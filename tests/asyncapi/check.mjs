// Checks an AsyncAPI document by AsyncAPI's own parser: `node check.mjs FILE`. Every finding is listed; errors fail.
import { DiagnosticSeverity, Parser, fromFile } from "@asyncapi/parser";

const [file] = process.argv.slice(2);
const { document, diagnostics } = await fromFile(new Parser(), file).parse();
for (const { severity, path, message, range } of diagnostics) {
  console.log(`${DiagnosticSeverity[severity].toLowerCase()}: ${file}:${range.start.line + 1} ${path.join("/")}: ${message}`);
}
const errors = diagnostics.filter(({ severity }) => severity === DiagnosticSeverity.Error);
if (errors.length > 0 || !document) {
  console.log(`${file}: ${errors.length} errors`);
  process.exit(1);
}
console.log(`${file}: AsyncAPI ${document.version()}, ${document.allMessages().length} messages, no errors`);
