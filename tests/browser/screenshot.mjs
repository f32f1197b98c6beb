// Opens a page at desktop and phone width and prints, as JSON, what a reader would not see: errors, requests, overflow.
// Usage: node screenshot.mjs PAGE.html FOLDER CHROMIUM [light|dark]     (needs playwright-core; see test_report_page.py)
import { createRequire } from 'node:module';
const require = createRequire(process.cwd() + '/');
const { chromium } = require('playwright-core');

const [page, folder, executablePath, colorScheme = 'light'] = process.argv.slice(2);
const widths = { desktop: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } };
const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath, args });
const found = {};
for (const [name, viewport] of Object.entries(widths)) {
  const tab = await browser.newPage({ viewport, colorScheme });
  tab.setDefaultTimeout(180000);  // a busy machine takes longer than the default 30 s
  const errors = [], requests = [];
  tab.on('pageerror', error => errors.push(error.message));
  tab.on('console', message => { if (message.type() === 'error') errors.push(message.text()); });
  tab.on('request', request => { if (!/^(file|data|blob):/.test(request.url())) requests.push(request.url()); });
  await tab.goto('file://' + page);
  // Images load when they come near the screen: scroll through, or the full picture shows empty frames.
  for (let y = 0; y < await tab.evaluate(() => document.body.scrollHeight); y += 600) {
    await tab.evaluate(to => window.scrollTo({ top: to, behavior: 'instant' }), y);
    await tab.waitForTimeout(30);
  }
  const measured = await tab.evaluate(() => ({
    title: document.title,
    pageWidth: document.documentElement.scrollWidth,
    screenWidth: document.documentElement.clientWidth,
    brokenImages: [...document.images].filter(image => !image.naturalWidth).length,
    images: document.images.length,
    unlabelledImages: document.querySelectorAll('img:not([alt]), img[alt=""], svg[role=img]:not([aria-label])').length,
    duplicateIds: [...document.querySelectorAll('[id]')].map(e => e.id).filter((id, i, all) => all.indexOf(id) !== i),
    cutOff: [...document.querySelectorAll('main p, main h2, main h3, main dd, main figcaption')]
      .filter(e => e.offsetParent && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1
        && !e.closest('.scroll')).length,
    smallestFigureTextPx: Math.min(...[...document.querySelectorAll('svg text')].map(e =>
      parseFloat(getComputedStyle(e).fontSize) * e.ownerSVGElement.getScreenCTM().a)),
  }));
  await tab.evaluate(() => window.scrollTo({ top: 0, behavior: 'instant' }));
  await tab.screenshot({ path: `${folder}/${name}.png` });
  await tab.screenshot({ path: `${folder}/${name}-full.png`, fullPage: true });
  found[name] = { ...measured, errors, requests };
  await tab.close();
}
console.log(JSON.stringify(found));
await browser.close();
