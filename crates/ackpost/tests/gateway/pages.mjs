// Drives headless Chromium over its debugging pipe and walks through the pages as a person would.
// node pages.mjs BASE TOKEN; ends with 0 when everything was seen, else says what was not.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [base, token] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), 'ackpost-chromium-'));
const browser = spawn(process.env.CHROMIUM ?? 'chromium', [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-extensions',
  `--user-data-dir=${profile}`, '--remote-debugging-pipe', 'about:blank',
], { stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'] });
let errors = '';
browser.stderr.on('data', (text) => { errors += text; });

let next = 0, buffer = '';
const waiting = new Map(), listeners = new Set();
browser.stdio[4].on('data', (bytes) => {
  buffer += bytes;
  for (let end; (end = buffer.indexOf('\0')) >= 0; buffer = buffer.slice(end + 1)) {
    const message = JSON.parse(buffer.slice(0, end));
    if (message.id && waiting.has(message.id)) {
      const { resolve, reject } = waiting.get(message.id);
      waiting.delete(message.id);
      message.error ? reject(new Error(message.error.message)) : resolve(message.result);
    } else listeners.forEach((listener) => listener(message));
  }
});
const call = (method, params = {}, sessionId) => new Promise((resolve, reject) => {
  const id = ++next;
  waiting.set(id, { resolve, reject });
  browser.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + '\0');
});

const problems = [];
const finish = (code, text) => {
  if (text) console.error(text);
  browser.removeAllListeners('exit');
  if (browser.exitCode !== null) process.exit(code);
  // Its helper processes write into the profile until they are gone.
  browser.on('exit', () => {
    rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 200 });
    process.exit(code);
  });
  browser.kill('SIGKILL');
};
setTimeout(() => finish(1, `too slow\n${errors.slice(-2000)}`), 90_000).unref();
browser.on('exit', (code) => finish(1, `chromium ended with ${code}\n${errors.slice(-2000)}`));

const { targetId } = await call('Target.createTarget', { url: 'about:blank' });
const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true });
const page = (method, params) => call(method, params, sessionId);
listeners.add(({ method, params }) => {
  if (method === 'Log.entryAdded' && params.entry.level === 'error') problems.push(params.entry.text);
  if (method === 'Runtime.exceptionThrown') problems.push(params.exceptionDetails.text);
});
await page('Page.enable');
await page('Log.enable');
await page('Runtime.enable');

const evaluate = async (expression) => {
  const { result, exceptionDetails } = await page('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
  if (exceptionDetails) throw new Error(exceptionDetails.text);
  return result.value;
};
const loaded = () => new Promise((resolve) => {
  const listener = ({ method }) => {
    if (method === 'Page.loadEventFired') { listeners.delete(listener); resolve(); }
  };
  listeners.add(listener);
});
const go = async (path) => { const done = loaded(); await page('Page.navigate', { url: base + path }); await done; };
const act = async (expression) => { const done = loaded(); await evaluate(expression); await done; };
const text = () => evaluate('document.body.innerText');
const sees = async (what, where) => {
  const all = await text();
  if (!all.includes(what)) finish(1, `${where}: "${what}" is not on the page:\n${all}`);
};

await go('/ui');
if (!(await evaluate('location.pathname')).endsWith('/ui/login')) finish(1, 'the way did not lead to the login');
await act(`document.querySelector('[name=token]').value = 'ackp_wrong'; document.querySelector('form.stack').submit()`);
await sees('no valid token', 'login');
await act(`document.querySelector('[name=token]').value = ${JSON.stringify(token)}; document.querySelector('form.stack').submit()`);
await sees('Keys', 'overview');
await sees('ops', 'overview');
await act(`document.querySelector('a[href="/ui/keys/ops"]').click()`);
await sees('0...f@', 'key: the seed is masked');
await sees('good', 'key');
await act(`document.querySelector('[name=body]').value = 'from a browser'; document.querySelector('[name=tag]').value = 'good';
           document.querySelector('form.stack button').click()`);
await sees('delivered to 1 of 1 targets', 'test message');
await go('/ui/outbox?state=delivered');
await sees('delivered', 'outbox');
await go('/ui/outbox?state=waiting');
await act(`document.querySelector('td a').click()`);
await sees('Next attempt', 'message');
await act(`[...document.querySelectorAll('button')].find((b) => b.innerText === 'Drop').click()`);
await sees('dropped', 'message after dropping it');
const style = await evaluate(`getComputedStyle(document.querySelector('header')).display`);
if (style !== 'flex') finish(1, 'the style sheet was not used');
await page('Emulation.setDeviceMetricsOverride', { width: 360, height: 640, deviceScaleFactor: 1, mobile: true });
if (await evaluate('document.documentElement.scrollWidth > 370')) finish(1, 'the page is wider than a phone');
await act(`[...document.querySelectorAll('button')].find((b) => b.innerText === 'Log out').click()`);
await sees('Log in', 'after logging out');
await go('/ui/outbox');
await sees('Log in', 'outbox without a session');
// A refused login is logged by the browser as a failed load; anything else is a problem of the pages.
const real = problems.filter((problem) => !problem.includes('401'));
if (real.length) finish(1, `the browser complained: ${real.join(' | ')}`);
finish(0);
