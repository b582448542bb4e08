// Looks at the pages of a community at the widths of a desk and of a phone, light and dark, without scripts.
// node pages.mjs BASE FOLDER; pictures go to FOLDER.
import { writeFileSync } from 'node:fs';
import { browse } from '../../ackpost-testkit/browser.mjs';

const [base, folder] = process.argv.slice(2);
const pages = [['index', '/'], ['room', '/r/test/'], ['closed', '/r/closed/'], ['missing', '/r/nowhere/']];
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
        const seen = await evaluate(`({
          wide: document.documentElement.scrollWidth, inner: innerWidth, scripts: document.scripts.length,
          styled: getComputedStyle(document.querySelector('main')).maxWidth, ground: getComputedStyle(document.body).backgroundColor,
          ink: getComputedStyle(document.body).color, broken: [...document.images].filter((i) => !i.complete || !i.naturalWidth).map((i) => i.src),
          cut: [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80)),
        })`);
        if (seen.wide > seen.inner) fail(`${where}: ${seen.wide} px of page on ${seen.inner} px of screen`);
        if (seen.cut.length) fail(`${where}: cut off: ${seen.cut.join(' ')}`);
        if (seen.scripts) fail(`${where}: a page has a script`);
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
  await go(`${base}/r/test/`);
  await sees('The tomatoes are in.', 'room');
  await sees('Join this community', 'room');
  // A page that is not there is a failed load; anything else is a problem of the pages.
  const real = problems.filter((problem) => !problem.includes('404'));
  if (real.length) fail(`the browser complained: ${real.join(' | ')}`);
});
