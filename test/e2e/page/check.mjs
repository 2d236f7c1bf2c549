// The pages in a real browser: accessibility, policy, width and keyboard. See README.md.
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = dirname(fileURLToPath(import.meta.url));
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const args = process.argv.slice(2);
const at = args.indexOf("--screenshots");
const screenshots = at >= 0 ? args.splice(at, 2)[1] : "";
if (screenshots) mkdirSync(screenshots, { recursive: true });

const screens = { desktop: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } };
const pages = { status: "", runbooks: "runbooks/", runbook: "runbooks/EntraAwsScimTokenExpiringSoon" };
// The example has the status page in each state, too.
const examples = {
  well: "well/", expiring: "expiring/", quarantined: "quarantined/", rotating: "rotating/", blocked: "blocked/", approval: "approval/",
  unread: "unread/", none: "none/",
};
const looks = [["desktop", "light"], ["desktop", "dark"], ["phone", "light"], ["phone", "dark"]];
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

// serveExample starts the example pages and resolves to their URL.
function serveExample() {
  const server = spawn("go", ["run", "."], { cwd: here, stdio: ["ignore", "pipe", "inherit"], detached: true });
  const stop = () => process.kill(-server.pid);
  return new Promise((resolve, reject) => {
    server.stdout.once("data", (line) => resolve([String(line).trim(), stop]));
    server.once("exit", (code) => reject(new Error(`the example pages did not start: exit code ${code}`)));
  });
}

// check opens one page and returns what is wrong with it.
async function check(browser, base, name, path, screen, scheme) {
  const wrong = [];
  const context = await browser.newContext({ viewport: screens[screen], colorScheme: scheme, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && wrong.push(`browser: ${message.text()}`));
  page.on("pageerror", (error) => wrong.push(`browser: ${error.message}`));
  page.on("request", (request) => new URL(request.url()).origin === new URL(base).origin || wrong.push(`asks ${request.url()}`));

  const response = await page.goto(base + path, { waitUntil: "load" });
  if (response.status() !== 200) wrong.push(`answers ${response.status()}`);
  if (screenshots) await page.screenshot({ path: join(screenshots, `${name}-${screen}-${scheme}.png`), fullPage: true });

  await page.keyboard.press("Tab");
  const first = await page.evaluate(() => document.activeElement.className);
  if (first !== "skip") wrong.push(`the first Tab reaches "${first}" and not the skip link`);

  for (const details of await page.locator("details").all()) await details.evaluate((element) => (element.open = true));
  await page.evaluate(axe);
  const { violations } = await page.evaluate((values) => window.axe.run(document, { runOnly: values }), tags);
  for (const { id, help, nodes } of violations)
    for (const node of nodes) wrong.push(`${id}: ${help}: ${node.html.slice(0, 200)}: ${node.failureSummary.replaceAll("\n", " ")}`);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  if (overflow > 0) wrong.push(`is ${overflow} px wider than the screen`);
  await context.close();
  return wrong;
}

const [base, stop] = args[0] ? [args[0], () => {}] : await serveExample();
if (!args[0]) Object.assign(pages, examples);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
let failures = 0;
try {
  for (const [name, path] of Object.entries(pages))
    for (const [screen, scheme] of looks) {
      const wrong = await check(browser, base, name, path, screen, scheme);
      console.log(`${wrong.length ? "FAIL" : "ok  "} ${name} ${screen} ${scheme}`);
      for (const line of wrong) console.log(`     ${line}`);
      failures += wrong.length;
    }
} finally {
  await browser.close();
  stop();
}
process.exit(failures ? 1 : 0);
