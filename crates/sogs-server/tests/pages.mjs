// Looks at the pages of a community at the widths of a desk and of a phone, light and dark, without scripts; then lets
// axe-core judge them, and tries the one script.
// node pages.mjs BASE FOLDER AXE; pictures go to FOLDER.
import { readFileSync, writeFileSync } from 'node:fs';
import { browse } from '../../ackpost-testkit/browser.mjs';

const [base, folder, axeFile] = process.argv.slice(2);
const axe = readFileSync(axeFile, 'utf8');
const pages = [
  ['index', '/'], ['room', '/r/test/'], ['older', '/r/test/?before=40'], ['found', '/r/test/?q=tomatoes'], ['nothing', '/r/test/?q=nosuchword'],
  ['closed', '/r/closed/'], ['empty', '/r/empty/'], ['missing', '/r/nowhere/'],
];
const screens = [['desktop', 1280, 900, false], ['phone', 390, 844, true], ['small', 320, 568, true]];

await browse(async ({ page, go, evaluate, sees, fail, problems }) => {
  const grounds = {};
  for (const [screen, width, height, mobile] of screens) {
    await page('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile });
    for (const scheme of ['light', 'dark']) {
      await page('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
      for (const [name, path] of pages) {
        const where = `${name} on ${screen}, ${scheme}`;
        // Nothing of a page depends on scripts.
        await page('Emulation.setScriptExecutionDisabled', { value: true });
        await go(base + path);
        await page('Emulation.setScriptExecutionDisabled', { value: false });
        // Pictures below the fold are loaded when they come into view.
        await evaluate(`Promise.all([...document.images].map((i) => { i.loading = 'eager'; return i.decode().catch(() => {}); }))`);
        const seen = await evaluate(`({
          wide: document.documentElement.scrollWidth, inner: innerWidth,
          scripts: [...document.scripts].filter((s) => s.text || !s.integrity || new URL(s.src).pathname !== '/static/copy.js').length,
          styled: getComputedStyle(document.querySelector('main')).maxWidth, ground: getComputedStyle(document.body).backgroundColor,
          ink: getComputedStyle(document.body).color, broken: [...document.images].filter((i) => !i.complete || !i.naturalWidth).map((i) => i.src),
          cut: [...document.querySelectorAll('main *:not(.unseen)')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.pins a')).map((e) => e.outerHTML.slice(0, 80)),
          buttons: [...document.querySelectorAll('button[data-copy]')].filter((b) => !b.hidden).length,
        })`);
        if (seen.wide > seen.inner) fail(`${where}: ${seen.wide} px of page on ${seen.inner} px of screen`);
        if (seen.cut.length) fail(`${where}: cut off: ${seen.cut.join(' ')}`);
        if (seen.scripts) fail(`${where}: a page has a script that is not the one for copying`);
        if (seen.buttons) fail(`${where}: a button that needs a script is shown without it`);
        if (seen.styled === 'none') fail(`${where}: the style sheet was not used`);
        if (seen.broken.length) fail(`${where}: pictures that do not load: ${seen.broken}`);
        grounds[scheme] = seen.ground;
        if (seen.ground === seen.ink) fail(`${where}: no contrast`);
        const { data } = await page('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true });
        writeFileSync(`${folder}/${name}-${screen}-${scheme}.png`, Buffer.from(data, 'base64'));
      }
    }
  }
  if (grounds.light === grounds.dark) fail('light and dark look the same');

  // With scripts: accessibility, at the widths of a desk and of a phone. The debugger puts axe-core in; the page cannot.
  for (const [screen, width, height, mobile] of screens.slice(0, 2)) {
    await page('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile });
    for (const scheme of ['light', 'dark']) {
      await page('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
      for (const [name, path] of pages) {
        await go(base + path);
        await evaluate(axe + ';0');
        const found = await evaluate(`axe.run(document, { resultTypes: ['violations'] }).then((all) => ({
          checked: all.passes.length,
          bad: all.violations.map((v) => v.id + ': ' + v.help + ' – ' + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 120)).join(' ')),
        }))`);
        if (found.bad.length) fail(`${name} on ${screen}, ${scheme}: ${found.bad.join('\n')}`);
        if (found.checked < 10) fail(`${name} on ${screen}, ${scheme}: axe-core checked ${found.checked} rules only`);
      }
    }
  }

  await go(`${base}/r/test/`);
  await sees('The tomatoes are in.', 'room');
  await sees('Join this room', 'room');
  // The one script: its button is there and copies.
  await page('Browser.grantPermissions', { permissions: ['clipboardReadWrite', 'clipboardSanitizedWrite'], origin: base });
  const copied = await evaluate(`(async () => {
    const button = document.querySelector('button[data-copy]');
    if (button.hidden) return 'hidden';
    button.click();
    for (let n = 0; n < 50 && !button.nextElementSibling.textContent; n++) await new Promise((done) => setTimeout(done, 20));
    return button.nextElementSibling.textContent;
  })()`);
  if (!/^(Copied|Selected)/.test(copied)) fail(`the copy button says: ${copied}`);
  // A page that is not there is a failed load; anything else is a problem of the pages.
  const real = problems.filter((problem) => !problem.includes('404'));
  if (real.length) fail(`the browser complained: ${real.join(' | ')}`);
});
