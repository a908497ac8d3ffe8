// Drives the page as a person does: first run, the list, an install by mouse with its bar watched live, an install that
// needs a name typed, a restart of the box under open pages, the same without JavaScript, and pictures of all of it.
//
// Told by its environment: PAGE (address), CODE (one-time code), SHOTS (folder for pictures), CHROMIUM (program).
// Standard output asks whoever started this for two things: `please restart` for a restart of the box, which a line on
// standard input says is done, and `please write to 40` for machines that write on until 40 %: however slow this
// machine is, a bar is watched at every step.
import { chromium } from 'playwright-core';
import { createInterface } from 'node:readline';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const { PAGE, CODE, SHOTS, CHROMIUM } = process.env;
const PASSWORD = 'a short sentence is good';
const SECONDS = 1000;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = text => console.log(text);
const check = (holds, what) => { if (!holds) throw new Error('not so: ' + what); };

const profile = mkdtempSync(join(tmpdir(), 'rackberry-browser-'));
const browser = await chromium.launch({
  executablePath: CHROMIUM,
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', `--disk-cache-dir=${profile}`],
});

// What must never happen on any page: a request to elsewhere, a script's error, something the policy blocked.
const wrong = [];
const watch = context => {
  context.setDefaultTimeout(60 * SECONDS);
  context.on('request', request => { if (!request.url().startsWith(PAGE)) wrong.push('asked elsewhere: ' + request.url()); });
  context.on('page', page => {
    page.on('pageerror', error => wrong.push('script: ' + error.message));
    page.on('console', message => {
      // A refused form is an answer of status 422, a page that is not there 404, and a restart cuts the stream: the
      // browser notes all of them.
      if (message.type() === 'error' && !/status of (422|404)|ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION|ERR_EMPTY/.test(message.text())) {
        wrong.push('console: ' + message.text());
      }
    });
  });
  return context;
};

// Hiding the caret would put a style into the page, which its policy forbids.
const shot = (page, name) => page.screenshot({ path: join(SHOTS, name + '.png'), caret: 'initial' });
const row = (page, name) => page.locator('#list tr', { has: page.getByRole('link', { name, exact: true }) });
const chip = (where, word) => where.locator('.chip', { hasText: new RegExp(`^${word}$`) }).waitFor();

// The values a bar takes while nobody touches the page; the machine goes on whenever one was seen.
const STEP = 7;
const rising = async (page, bar, count, what) => {
  const seen = [];
  const until = Date.now() + 120 * SECONDS;
  while (seen.length < count) {
    check(Date.now() < until, `${what} moves: ${seen}`);
    const value = await bar.evaluate(bar => bar.value, null, { timeout: 30 * SECONDS }).catch(() => null);
    if (value !== null && value !== seen.at(-1)) {
      seen.push(value);
      say(`please write to ${Math.ceil(value) + STEP}`);
    }
    await page.waitForTimeout(100);
  }
  check(seen.every((value, n) => n === 0 || value > seen[n - 1]), `${what} only rises: ${seen}`);
  say(`${what}: ${seen.join(', ')} %`);
};

try {
  const context = watch(await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: 'light' }));
  const page = await context.newPage();

  say('# first run');
  await page.goto(PAGE);
  check(page.url().endsWith('/first-run'), 'a box without users shows the first run');
  await page.getByLabel('Code from the box').fill(CODE);
  await page.getByLabel('Your name').fill('ops');
  await page.getByLabel('New password').fill(PASSWORD);
  await page.getByLabel('The same once more').fill(PASSWORD);
  await shot(page, 'first-run');
  await page.getByRole('button', { name: 'Start using it' }).click();

  say('# the list');
  for (const [name, word] of [['r1-n01', 'Running'], ['r1-n02', 'Waiting'], ['r1-n03', 'Waiting'], ['r1-n04', 'Armed'],
    ['r1-n05', 'Waiting'], ['r1-n06', 'Failed'], ['r1-n07', 'Waiting'], ['r1-n08', 'Expected']]) {
    await chip(row(page, name), word);
  }
  await shot(page, 'hosts-idle');

  say('# install by mouse: an empty disk');
  // A page that were loaded anew would lose this mark.
  const mark = page => page.evaluate(() => { window.mark = true; });
  const marked = page => page.evaluate(() => window.mark === true);
  await mark(page);
  await row(page, 'r1-n02').getByRole('link', { name: 'Install' }).click();
  const dialog = page.locator('dialog[open]');
  await dialog.getByRole('heading', { name: 'Install r1-n02' }).waitFor();
  check(await marked(page), 'the dialog opens over the list');
  await dialog.getByText('is empty').first().waitFor();
  await shot(page, 'install');
  await dialog.getByRole('button', { name: 'Install', exact: true }).click();
  await page.waitForURL(/\/hosts\/[0-9a-f-]{36}$/);
  await page.locator('.toast', { hasText: 'r1-n02 is armed for Debian 13.' }).waitFor();

  say('# its bar moves by itself');
  await mark(page);
  const bar = page.locator('#live progress.thick');
  await bar.waitFor();
  await rising(page, bar, 5, 'the bar of r1-n02');
  say('please write to 35');
  await page.waitForFunction(() => document.querySelector('#live progress.thick')?.value >= 30);
  await page.locator('#live svg.spark').waitFor();
  check(await marked(page), 'the page was never loaded anew');
  await shot(page, 'host');

  say('# install by mouse: a disk that holds a system');
  await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Hosts' }).click();
  await row(page, 'r1-n03').getByRole('link', { name: 'Install' }).click();
  await dialog.getByText('Everything on nvme0n1 goes.').waitFor();
  await shot(page, 'install-used');
  const erase = dialog.getByRole('button', { name: 'Erase and install' });
  await erase.click();
  await dialog.locator('#confirm-e').waitFor();
  await dialog.locator('#confirm').fill('r1-n03');
  await erase.click();
  await page.waitForURL(/\/hosts\/[0-9a-f-]{36}$/);

  say('# the list moves by itself');
  await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Hosts' }).click();
  await mark(page);
  await rising(page, row(page, 'r1-n03').locator('progress'), 3, 'the row of r1-n03');
  await shot(page, 'hosts');
  check(await marked(page), 'the list was never loaded anew');

  say('# a restart of the box under an open page');
  say('please restart');
  await lines.next();
  await rising(page, row(page, 'r1-n03').locator('progress'), 3, 'the row of r1-n03 after the restart');
  check(await page.locator('#lost').isHidden(), 'the page is in touch again');
  say('please write to 100');
  await chip(row(page, 'r1-n02'), 'Running');
  await chip(row(page, 'r1-n03'), 'Running');
  check(await marked(page), 'the list was never loaded anew');

  say('# search, filter, keys');
  await page.keyboard.press('/');
  await page.keyboard.type('n05');
  await page.keyboard.press('Enter');
  await page.waitForURL(/q=n05/);
  check(await page.locator('#list tbody tr').count() === 1, 'one host matches');
  await page.goto(PAGE + '/?state=failed');
  await row(page, 'r1-n06').getByRole('link', { name: 'See why' }).click();
  await page.getByRole('heading', { level: 2 }).first().waitFor();
  await shot(page, 'host-failed');

  say('# several disks: nothing is chosen beforehand');
  await page.goto(PAGE);
  await row(page, 'r1-n07').getByRole('link', { name: 'Install' }).click();
  await dialog.getByRole('heading', { name: 'What each disk would lose' }).waitFor();
  await dialog.getByText('sdb', { exact: true }).first().click();
  await dialog.getByText('sdb is empty.').waitFor();
  await shot(page, 'install-two-disks');
  await page.keyboard.press('Escape');

  say('# without JavaScript');
  const bare = watch(await browser.newContext({ javaScriptEnabled: false, viewport: { width: 1280, height: 860 } }));
  const plain = await bare.newPage();
  await plain.goto(PAGE);
  check(plain.url().endsWith('/login'), 'a stranger is asked to sign in');
  await shot(plain, 'login');
  await plain.getByLabel('Name').fill('ops');
  await plain.getByLabel('Password').fill('not this one');
  await plain.getByRole('button', { name: 'Sign in' }).click();
  await plain.getByText('That is not the password for ops.').waitFor();
  await plain.getByLabel('Password').fill(PASSWORD);
  await plain.getByRole('button', { name: 'Sign in' }).click();
  await row(plain, 'r1-n08').getByRole('link', { name: 'Install' }).click();
  await plain.getByText('The smallest disk').first().click();
  await plain.getByRole('button', { name: 'Erase and install' }).click();
  await plain.locator('#confirm-e').waitFor();
  await plain.locator('#confirm').fill('r1-n08');
  await plain.getByText('The smallest disk').first().click();
  await shot(plain, 'install-bare');
  await plain.getByRole('button', { name: 'Erase and install' }).click();
  await plain.getByText('Erases its disk at the next network boot.').waitFor();
  await plain.getByRole('button', { name: 'Disarm' }).click();
  await plain.getByText('r1-n08 is disarmed. Nothing was written.').waitFor();
  await plain.locator('details.look summary').click();
  await plain.getByText('Dark', { exact: true }).click();
  await plain.getByRole('button', { name: 'Keep it' }).click();
  check(await plain.locator('html[data-theme=dark]').count() === 1, 'the theme is kept');
  await shot(plain, 'bare-dark');
  await bare.close();

  say('# pictures: light, dark, phone');
  const cookies = await context.cookies();
  for (const [name, options] of [
    ['light', { colorScheme: 'light', viewport: { width: 1280, height: 860 } }],
    ['dark', { colorScheme: 'dark', viewport: { width: 1280, height: 860 } }],
    ['phone', { colorScheme: 'light', viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }],
  ]) {
    const view = watch(await browser.newContext(options));
    await view.addCookies(cookies);
    const page = await view.newPage();
    await page.goto(PAGE);
    const address = await row(page, 'r1-n01').getByRole('link', { name: 'r1-n01', exact: true }).getAttribute('href');
    for (const [what, path] of [['hosts', '/'], ['host', address], ['images', '/images'], ['profiles', '/profiles'],
      ['activity', '/activity'], ['updates', '/updates'], ['enrol', '/hosts/enrol'], ['nothing', '/no-such-page']]) {
      await page.goto(PAGE + path);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      check(wide <= 0, `${what} fits a ${name} screen (${wide} px too wide)`);
      await shot(page, `${name}-${what}`);
    }
    await page.goto(PAGE);
    await row(page, 'r1-n07').getByRole('link', { name: 'Install' }).click();
    await page.locator('dialog[open] #sheet').waitFor();
    await shot(page, `${name}-install`);
    await view.close();
  }

  say('# signing out');
  await page.goto(PAGE);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.waitForURL(/\/login$/);
  await page.goto(PAGE + '/activity');
  check(page.url().endsWith('/login'), 'the session is over');
  check(wrong.length === 0, wrong.join('; '));
  say('# done');
} catch (error) {
  for (const context of browser.contexts()) {
    for (const [n, page] of context.pages().entries()) {
      await shot(page, `failed-${n}`).catch(() => {});
      say(`at ${page.url()}`);
    }
  }
  for (const what of wrong) say('also: ' + what);
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser.close();
  rmSync(profile, { recursive: true, force: true });
  process.stdin.destroy();
}
