// Prints the schemas of the resources that the modules use, from the types that cdktf generated
// of the real providers. That of msgraph, which has no such types, stands here. The packages with
// the types stay in node_modules.
//   node schemas.mjs MODULE…
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync } from "node:fs";

const versions = { aws: "21.22.1", azuread: "14.3.1" }; // of the AWS provider 6.25.0 and of azuread 3.7.0

const types = { string: "string", boolean: "bool", number: "number", "string[]": "list", "number[]": "list", "cdktf.StringMap": "map", "cdktf.IResolvable": "bool" };
const typeOf = (text) => types[text] ?? (/^\{\s*\[key: string\]: string;\s*\}$/.test(text) ? "map" : undefined);
const snake = (name) => name.replace(/[A-Z]/g, (letter) => "_" + letter.toLowerCase());

// What an interface of the types lets a configuration contain.
function block(text, name) {
  const found = { attributes: {}, blocks: {} };
  const [, body] = text.match(new RegExp(`^export interface ${name} (?:extends \\S+ )?\\{\\n([^]*?)^\\}`, "m"));
  for (const [, key, optional, union] of body.matchAll(/#(\w+)\}[^]*?\n +readonly \w+(\??): ([^]*?);\n(?= {4}\/\*\*|$)/g)) {
    const type = union.replace(" | cdktf.IResolvable", "");
    if (typeOf(type)) found.attributes[key] = { type: typeOf(type), required: !optional, computed: !!optional };
    else found.blocks[key] = { block: block(text, type.replace("[]", "")), many: type.endsWith("[]"), required: !optional };
  }
  return found;
}

function read(provider, folder) {
  const archive = `node_modules/cdktf-provider-${provider}-${versions[provider]}.tgz`;
  if (!existsSync(archive)) {
    mkdirSync("node_modules", { recursive: true });
    execFileSync("npm", ["pack", `@cdktf/provider-${provider}@${versions[provider]}`, "--pack-destination", "node_modules"], { stdio: "ignore" });
  }
  return execFileSync("tar", ["-xzOf", archive, `package/lib/${folder}/index.d.ts`], { encoding: "utf8" });
}

function schema(provider, folder) {
  const text = read(provider, folder);
  const [, name, members] = text.match(/^export declare class (\w+) extends cdktf\.Terraform(?:Resource|DataSource) \{\n([^]*)/m);
  const found = block(text, name + "Config");
  for (const [, member, type] of members.matchAll(/^ {4}get (\w+)\(\): (.*);$/gm)) {
    const key = snake(member);
    if (typeOf(type) && !(key in found.attributes)) found.attributes[key] = { type: typeOf(type), computed: true };
  }
  return found;
}

const providers = {
  aws: { resources: {}, data: {} },
  azuread: { resources: {}, data: {} },
  msgraph: {
    resources: { msgraph_resource: { attributes: { id: { type: "string", computed: true }, url: { type: "string", required: true }, body: { type: "dynamic" }, api_version: { type: "string" } } } },
    data: {},
  },
};
for (const directory of process.argv.slice(2)) {
  for (const file of readdirSync(directory).filter((name) => name.endsWith(".tf"))) {
    for (const [, kind, provider, name] of readFileSync(`${directory}/${file}`, "utf8").matchAll(/^(resource|data) "([a-z]+)_([a-z_]+)"/gm)) {
      const into = providers[provider][kind === "data" ? "data" : "resources"];
      const folder = name.replaceAll("_", "-");
      into[`${provider}_${name}`] ??= schema(provider, kind === "data" ? `data-${provider}-${folder}` : folder);
    }
  }
}
console.log(JSON.stringify(providers));
