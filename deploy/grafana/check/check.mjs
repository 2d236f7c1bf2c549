// Checks the dashboards against Grafana's own published types: wrong types, unknown enum
// values and misspelt keys. It cannot check PromQL; the Go tests and the end-to-end test do.
import { readFileSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import Ajv from "ajv";
import { createGenerator } from "ts-json-schema-generator";

const here = dirname(fileURLToPath(import.meta.url));
const schema = createGenerator({
  path: join(here, "types.ts"), tsconfig: join(here, "tsconfig.json"), type: "Checked", skipTypeCheck: true, additionalProperties: false, topRef: false,
}).createSchema("Checked");

const ajv = new Ajv({ strict: false, allErrors: true, verbose: true });
ajv.addSchema(schema, "types");
const validator = (path) => ajv.compile({ $ref: `types#/properties/${path}` });
const dashboard = validator("dashboard");

// errors describes what a validator has just found, and where.
const errors = (validate) => validate.errors.map((e) => `${e.instancePath} ${e.message} ${JSON.stringify(e.params)}`);

// check returns the faults of one dashboard.
function check(value) {
  const wrong = dashboard(value) ? [] : errors(dashboard);
  for (const panel of value.panels.filter((p) => p.type !== "row")) {
    for (const [part, content] of [["options", panel.options], ["custom", panel.fieldConfig?.defaults?.custom]]) {
      if (content === undefined) continue;
      if (!schema.properties[part].properties[panel.type]) {
        wrong.push(`panel "${panel.title}": types.ts does not name the kind ${panel.type}`);
        continue;
      }
      const validate = validator(`${part}/properties/${panel.type}`);
      if (!validate(content)) wrong.push(...errors(validate).map((e) => `panel "${panel.title}" ${part}${e}`));
    }
  }
  return wrong;
}

let failed = false;
const directory = join(here, "..", "dashboards");
for (const file of readdirSync(directory).filter((name) => name.endsWith(".json"))) {
  const value = JSON.parse(readFileSync(join(directory, file), "utf8"));
  const wrong = check(value);
  console.log(`${wrong.length ? "FAIL" : "ok  "} ${file}`);
  for (const line of wrong) console.log(`     ${line}`);
  failed ||= wrong.length > 0;

  // Prove that the check can fail.
  for (const [what, addFault] of Object.entries({
    "a misspelt key": (d) => (d.descripton = "x"),
    "a misspelt key in a panel": (d) => (d.panels.find((p) => p.type !== "row").gridPosition = {}),
    "a wrong type": (d) => (d.schemaVersion = "39"),
    "an unknown value": (d) => (d.panels.find((p) => p.type === "stat").options.textMode = "loud"),
  })) {
    const faulty = structuredClone(value);
    addFault(faulty);
    if (check(faulty).length > wrong.length) continue;
    console.log(`FAIL ${file}: ${what} is not found`);
    failed = true;
  }
}
process.exit(failed ? 1 : 0);
