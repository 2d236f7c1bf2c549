// Checks the pages in a browser: accessibility, policy, width and keyboard. See README.md.
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

const screens = { desktop: { width: 1400, height: 900 }, tablet: { width: 800, height: 1100 }, phone: { width: 390, height: 844 } };
const pages = { status: "", config: "config", runbooks: "runbooks/", runbook: "runbooks/EntraAwsScimTokenExpiringSoon", manual: "rotation", reasons: "rotation-reasons" };
// The example server also shows each state on a page of its own.
const examples = {
  healthy: "healthy/", expiring: "expiring/", quarantined: "quarantined/", rotating: "rotating/", blocked: "blocked/", approval: "approval/",
  unpolled: "unpolled/", none: "none/", fleet: "fleet/", connection: "connections/labs",
};
const variants = [["desktop", "light"], ["desktop", "dark"], ["tablet", "light"], ["phone", "light"], ["phone", "dark"]];
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

// check opens one page and returns the violations.
async function check(browser, base, name, path, screen, scheme) {
  const violations = [];
  const context = await browser.newContext({ viewport: screens[screen], colorScheme: scheme, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.on("console", (message) => message.type() === "error" && violations.push(`browser: ${message.text()}`));
  page.on("pageerror", (error) => violations.push(`browser: ${error.message}`));
  page.on("request", (request) => new URL(request.url()).origin === new URL(base).origin || violations.push(`requests ${request.url()}`));

  const response = await page.goto(base + path, { waitUntil: "load" });
  if (response.status() !== 200) violations.push(`returns ${response.status()}`);
  if (screenshots) await page.screenshot({ path: join(screenshots, `${name}-${screen}-${scheme}.png`), fullPage: true });

  await page.keyboard.press("Tab");
  const first = await page.evaluate(() => document.activeElement.className);
  if (first !== "skip") violations.push(`the first Tab reaches "${first}" and not the skip link`);

  for (const details of await page.locator("details").all()) await details.evaluate((element) => (element.open = true));
  await page.evaluate(axe);
  const report = await page.evaluate((values) => window.axe.run(document, { runOnly: values }), tags);
  for (const { id, help, nodes } of report.violations)
    for (const node of nodes) violations.push(`${id}: ${help}: ${node.html.slice(0, 200)}: ${node.failureSummary.replaceAll("\n", " ")}`);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  if (overflow > 0) violations.push(`is ${overflow} px wider than the screen`);
  // Only the details of a connection may scroll sideways. Every column of a list is in view.
  const cut = await page.evaluate(() => [...document.querySelectorAll(".stacked :is(th, td)")]
    .filter((cell) => cell.closest("tbody") && (cell.getBoundingClientRect().right > window.innerWidth || cell.getBoundingClientRect().left < 0)).length);
  if (cut > 0) violations.push(`cuts ${cut} cells of the list`);
  await context.close();
  return violations;
}

const [base, stop] = args[0] ? [args[0], () => {}] : await serveExample();
if (!args[0]) Object.assign(pages, examples);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
let failures = 0;
try {
  for (const [name, path] of Object.entries(pages))
    for (const [screen, scheme] of variants) {
      const violations = await check(browser, base, name, path, screen, scheme);
      console.log(`${violations.length ? "FAIL" : "ok  "} ${name} ${screen} ${scheme}`);
      for (const line of violations) console.log(`     ${line}`);
      failures += violations.length;
    }
} finally {
  await browser.close();
  stop();
}
process.exit(failures ? 1 : 0);
