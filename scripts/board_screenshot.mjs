// A picture of TensorBoard on some run folders: node scripts/board_screenshot.mjs PLACE URL OUT, where PLACE has node_modules with playwright-core.

import { createRequire } from "node:module";
import { resolve } from "node:path";

const [place, url, out] = process.argv.slice(2);
const { chromium } = createRequire(`${resolve(place)}/node_modules/`)("playwright-core");
const FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS.split(" ") });
const page = await browser.newPage({ viewport: { width: 1360, height: 900 } });
for (const view of ["custom_scalars", "hparams"]) {
  await page.goto(`${url}/#${view}`);
  await page.waitForTimeout(8000);
  await page.screenshot({ path: `${out}-${view}.png` });
}
await browser.close();
