// Walks through the pages as a person would, and lets axe-core judge them. node pages.mjs BASE TOKEN AXE; ends with 0 when everything was seen, else says
// what was not.
import { readFileSync } from 'node:fs';

import { browse } from '../../../ackpost-testkit/browser.mjs';

const [base, token, axeFile] = process.argv.slice(2);
const axe = readFileSync(axeFile, 'utf8');
await browse(async ({ page, go, act, evaluate, sees, fail, problems }) => {
  const visit = (path) => go(base + path);
  // Accessibility, in light and in dark. The debugger puts axe-core in; the page cannot.
  const judge = async (path) => {
    for (const scheme of ['light', 'dark']) {
      await page('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
      await visit(path);
      await evaluate(axe + ';0');
      const found = await evaluate(`axe.run(document, { resultTypes: ['violations'] }).then((all) => ({
        checked: all.passes.length,
        bad: all.violations.map((v) => v.id + ': ' + v.help + ' – ' + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 120)).join(' ')),
      }))`);
      if (found.bad.length) fail(`${path}, ${scheme}: ${found.bad.join('\n')}`);
      if (found.checked < 10) fail(`${path}, ${scheme}: axe-core checked ${found.checked} rules only`);
    }
  };
  await judge('/ui/login');
  await visit('/ui');
  if (!(await evaluate('location.pathname')).endsWith('/ui/login')) fail('the way did not lead to the login');
  await act(`document.querySelector('[name=token]').value = 'ackp_wrong'; document.querySelector('form.stack').submit()`);
  await sees('invalid token', 'login');
  await act(`document.querySelector('[name=token]').value = ${JSON.stringify(token)}; document.querySelector('form.stack').submit()`);
  await sees('Keys', 'overview');
  await sees('ops', 'overview');
  await act(`document.querySelector('a[href="/ui/keys/ops"]').click()`);
  await sees(':****@', 'key: the seed is masked');
  await sees('good', 'key');
  await act(`document.querySelector('[name=body]').value = 'from a browser'; document.querySelector('[name=tag]').value = 'good';
             document.querySelector('form.stack button').click()`);
  await sees('delivered to 1 of 1 targets', 'test message');
  // A second key, which is wrong at first.
  await visit('/ui');
  await act(`document.querySelector('[name=key]').value = 'night'; document.querySelector('form.row button').click()`);
  await sees('Configuration of night', 'a new key');
  await act(`document.querySelector('[name=config]').value = 'no URL at all'; document.querySelector('form.stack button').click()`);
  await sees('no service that can be used', 'a wrong configuration');
  if (!(await evaluate(`document.querySelector('[name=config]').value`)).includes('no URL at all')) fail('the text is lost');
  await act(`document.querySelector('[name=config]').value = 'home=xmpps://bot:pw@example.org/jane'; document.querySelector('form.stack button').click()`);
  await sees('Key night', 'the saved key');
  await sees(':****@example.org/jane', 'the saved key');
  await act(`document.querySelector('a[href="/ui/keys/night/edit"]').click()`);
  if (!(await evaluate(`document.querySelector('[name=config]').value`)).includes('home=xmpps://bot:pw@example.org/jane'))
    fail('the form does not have the configuration');
  await visit('/ui/outbox?state=delivered');
  await sees('delivered', 'outbox');
  await visit('/ui/outbox?state=waiting');
  const message = await evaluate(`document.querySelector('td a').getAttribute('href')`);
  for (const path of ['/ui', '/ui/keys/ops', '/ui/keys/ops/edit', '/ui/outbox', message]) await judge(path);
  await sees('Next attempt', 'message');
  await sees('<b>waits</b>', 'the text of the message');
  await act(`[...document.querySelectorAll('button')].find((b) => b.innerText === 'Drop').click()`);
  await sees('dropped', 'message after dropping it');
  const style = await evaluate(`getComputedStyle(document.querySelector('header')).display`);
  if (style !== 'flex') fail('the style sheet was not used');
  await page('Emulation.setDeviceMetricsOverride', { width: 360, height: 640, deviceScaleFactor: 1, mobile: true });
  for (const path of ['/ui', '/ui/keys/ops', '/ui/keys/ops/edit', '/ui/outbox', message]) {
    await visit(path);
    if (await evaluate('document.documentElement.scrollWidth > 370')) fail(`${path} is wider than a phone`);
    // Headings and tags stay whole words.
    if (await evaluate(`[...document.querySelectorAll('th, .tag')].some((e) => e.getClientRects().length > 0 && e.offsetHeight > 60)`))
      fail(`${path}: words are broken`);
  }
  await act(`[...document.querySelectorAll('button')].find((b) => b.innerText === 'Log out').click()`);
  await sees('Log in', 'after logging out');
  await visit('/ui/outbox');
  await sees('Log in', 'outbox without a session');
  // A refused login or configuration is logged by the browser as a failed load; anything else is a problem of the pages.
  const real = problems.filter((problem) => !problem.includes('401') && !problem.includes('400'));
  if (real.length) fail(`the browser complained: ${real.join(' | ')}`);
});
