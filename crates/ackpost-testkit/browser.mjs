// Headless Chromium for the tests, driven over its debugging pipe.
//
//   import { browse } from '…/testkit/browser.mjs';
//   await browse(async ({ page, go, act, evaluate, sees, fail, problems }) => { … });
//
// The process ends with 0 when the function returns, else it says what was not as it should be.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const browse = async (walk) => {
  const profile = mkdtempSync(join(tmpdir(), 'ackpost-chromium-'));
  const browser = spawn(process.env.CHROMIUM ?? 'chromium', [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-extensions',
    '--hide-scrollbars', '--disable-background-networking', `--user-data-dir=${profile}`, '--remote-debugging-pipe', 'about:blank',
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

  const finish = (code, text) => {
    if (text) console.error(text);
    browser.removeAllListeners('exit');
    if (browser.exitCode !== null) process.exit(code);
    // Its helper processes write into the profile until they are gone.
    browser.on('exit', () => {
      try {
        rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 200 });
      } catch (error) {
        // A folder that stays behind says nothing about the pages.
        console.error(`cannot remove ${profile}: ${error}`);
      }
      process.exit(code);
    });
    browser.kill('SIGKILL');
  };
  const fail = (text) => finish(1, text);
  setTimeout(() => fail(`too slow\n${errors.slice(-2000)}`), 240_000).unref();
  browser.on('exit', (code) => fail(`chromium ended with ${code}\n${errors.slice(-2000)}`));

  const { targetId } = await call('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true });
  const page = (method, params) => call(method, params, sessionId);
  // What the console of the page says, and what threw in it.
  const problems = [];
  listeners.add(({ method, params }) => {
    if (method === 'Log.entryAdded' && params.entry.level === 'error') problems.push(params.entry.text);
    if (method === 'Runtime.consoleAPICalled') problems.push(JSON.stringify(params.args));
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
  const go = async (url) => { const done = loaded(); await page('Page.navigate', { url }); await done; };
  const act = async (expression) => { const done = loaded(); await evaluate(expression); await done; };
  const sees = async (what, where) => {
    const all = await evaluate('document.body.innerText');
    if (!all.includes(what)) fail(`${where}: "${what}" is not on the page:\n${all}`);
  };
  try {
    await walk({ page, go, act, evaluate, sees, fail, problems });
    finish(0);
  } catch (error) {
    fail(`${error.stack}\n${errors.slice(-2000)}`);
  }
};
