// Walks through the pages as a person would. node pages.mjs BASE TOKEN; ends with 0 when everything was seen, else says
// what was not.
import { browse } from '../../../ackpost-testkit/browser.mjs';

const [base, token] = process.argv.slice(2);
await browse(async ({ page, go, act, evaluate, sees, fail, problems }) => {
  const visit = (path) => go(base + path);
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
  await visit('/ui/outbox?state=delivered');
  await sees('delivered', 'outbox');
  await visit('/ui/outbox?state=waiting');
  await act(`document.querySelector('td a').click()`);
  await sees('Next attempt', 'message');
  await act(`[...document.querySelectorAll('button')].find((b) => b.innerText === 'Drop').click()`);
  await sees('dropped', 'message after dropping it');
  const style = await evaluate(`getComputedStyle(document.querySelector('header')).display`);
  if (style !== 'flex') fail('the style sheet was not used');
  await page('Emulation.setDeviceMetricsOverride', { width: 360, height: 640, deviceScaleFactor: 1, mobile: true });
  for (const path of ['/ui', '/ui/keys/ops', '/ui/outbox']) {
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
  // A refused login is logged by the browser as a failed load; anything else is a problem of the pages.
  const real = problems.filter((problem) => !problem.includes('401'));
  if (real.length) fail(`the browser complained: ${real.join(' | ')}`);
});
