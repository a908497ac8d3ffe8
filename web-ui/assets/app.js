// Rackberry's own script. Every page works without it; it adds live rows, the dialog, keys and the theme switch.
(() => {
'use strict';
const root = document.documentElement, byId = id => document.getElementById(id);
root.classList.add('js');

// --- The stream: one EventSource for each tab, closed while nobody looks, resumed after the last event it saw.
let heardAt = Date.now(), broken = false;
const heard = () => { heardAt = Date.now(); broken = false; };

// Looks like an EventSource to the htmx extension, but survives closing and reopening with all its listeners.
class Stream {
  constructor(url) {
    this.url = url;
    this.ears = new Map();
    this.wait = 1000;
    this.addEventListener('tick', () => {});
    this.open();
    document.addEventListener('visibilitychange', () => document.hidden ? this.shut() : this.open());
    addEventListener('pagehide', () => this.shut());
    addEventListener('pageshow', () => this.open());
  }
  open() {
    clearTimeout(this.timer);
    if (this.source || document.hidden) return;
    // The browser sends Last-Event-ID when it reconnects by itself; a new EventSource can only say it in the address.
    const url = new URL(this.url, location.href);
    if (this.last) url.searchParams.set('last', this.last);
    const source = this.source = new EventSource(url);
    heardAt = Date.now();
    source.onopen = event => { heard(); this.wait = 1000; this.onopen?.(event); };
    source.onerror = () => {
      broken = true;
      if (source.readyState !== EventSource.CLOSED || this.source !== source) return;
      this.shut();
      this.timer = setTimeout(() => this.open(), this.wait = Math.min(this.wait * 2, 30000));
    };
    for (const list of this.ears.values()) for (const [name, fn] of list) source.addEventListener(name, fn);
  }
  shut() { clearTimeout(this.timer); this.source?.close(); this.source = null; }
  close() { this.shut(); }
  get readyState() { return EventSource.OPEN; }
  addEventListener(name, fn) {
    const ear = event => { heard(); if (event.lastEventId) this.last = event.lastEventId; fn(event); };
    this.ears.set(fn, [...(this.ears.get(fn) || []), [name, ear]]);
    this.source?.addEventListener(name, ear);
  }
  removeEventListener(name, fn) {
    for (const [of, ear] of this.ears.get(fn) || []) if (of === name) this.source?.removeEventListener(of, ear);
    this.ears.delete(fn);
  }
}
htmx.createEventSource = url => new Stream(url);

// Figures that may be old say so. The server sends a tick every 5 s, so 12 s without anything is a lost connection.
const lost = byId('lost');
setInterval(() => {
  const gone = !document.hidden && Date.now() - heardAt > (broken ? 4000 : 12000);
  if (lost.hidden !== gone) return;
  byId('lost-since').textContent = clock(new Date(heardAt));
  lost.hidden = !gone;
}, 1000);

// --- The display of the box: the same picture, asked for anew while somebody looks.
const oled = byId('oled');
if (oled) setInterval(() => { if (!document.hidden) oled.src = oled.src.replace(/(&at=\d+)?$/, '&at=' + Date.now()); }, 2000);

// --- Times: the server writes UTC, the reader gets their own clock.
const two = n => String(n).padStart(2, '0');
const clock = at => two(at.getHours()) + ':' + two(at.getMinutes()) + ':' + two(at.getSeconds());
const months = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');
const localTimes = scope => {
  for (const time of scope.querySelectorAll?.('time[datetime]') || []) {
    const at = new Date(time.dateTime), today = at.toDateString() === new Date().toDateString();
    time.textContent = (today ? '' : at.getDate() + ' ' + months[at.getMonth()] + ', ') + clock(at);
  }
};
localTimes(document);
htmx.onLoad(localTimes);

// --- Live fragments: where only figures changed, change only them. Focus, open menus and moving bars stay as they are.
const same = (a, b) => a.nodeName === b.nodeName && a.id === b.id && a.childNodes.length === b.childNodes.length
  && [...a.childNodes].every((child, n) => same(child, b.childNodes[n]));
const sync = (a, b) => {
  if (a.nodeType !== Node.ELEMENT_NODE) { if (a.data !== b.data) a.data = b.data; return; }
  for (const { name, value } of b.attributes) if (a.getAttribute(name) !== value) a.setAttribute(name, value);
  for (const { name } of [...a.attributes]) if (!b.hasAttribute(name) && !(name === 'open' && a.localName === 'details')) a.removeAttribute(name);
  a.childNodes.forEach((child, n) => sync(child, b.childNodes[n]));
};
const say = text => { byId('say').textContent = text; };

document.body.addEventListener('htmx:sseBeforeMessage', event => {
  const old = event.target;
  if (old.getAttribute('hx-swap') !== 'outerHTML') return;
  const page = document.createElement('template');
  page.innerHTML = event.detail.data;
  const fresh = page.content.firstElementChild;
  if (!fresh) return;
  // State changes are announced, percents never.
  if (old.dataset.says && fresh.dataset.says !== old.dataset.says) say(fresh.dataset.says);
  localTimes(fresh);
  // A half-typed search must not vanish because a host came up.
  const search = fresh.querySelector('#q'), typed = old.querySelector('#q');
  if (search && typed) search.setAttribute('value', typed.value);
  event.preventDefault();
  if (same(old, fresh)) { sync(old, fresh); return; }
  // What was unfolded stays so, and scrolled to where it was.
  for (const fold of fresh.querySelectorAll('details[id]')) fold.open ||= Boolean(byId(fold.id)?.open);
  const at = old.querySelector('.log')?.scrollTop || 0;
  htmx.swap(old, page.innerHTML, { swapStyle: 'outerHTML', swapDelay: 0, settleDelay: 20 });
  const log = document.querySelector('.log');
  if (log) log.scrollTop = at;
});

// --- The dialog: links to a page that is also a fragment open over this one.
const dialog = byId('dialog'), keys = byId('keys');
document.body.addEventListener('htmx:afterSwap', event => { if (event.target === dialog && !dialog.open) dialog.showModal(); });
dialog.addEventListener('close', () => dialog.replaceChildren());
for (const box of [dialog, keys]) {
  box.addEventListener('click', event => {
    if (event.target === box || event.target.closest('[data-close]')) { event.preventDefault(); box.close(); }
  });
}
// An answer that came from elsewhere (303 to the host, to the sign-in page) is a page to go to, not a fragment.
document.body.addEventListener('htmx:beforeSwap', event => {
  const { xhr, pathInfo } = event.detail;
  if (!xhr?.responseURL || !pathInfo) return;
  if (new URL(xhr.responseURL).pathname === new URL(pathInfo.requestPath, location.href).pathname) return;
  event.detail.shouldSwap = false;
  location.assign(xhr.responseURL);
});
document.body.addEventListener('htmx:responseError', event => {
  if (!event.detail.target?.closest('#dialog, #sheet')) return;
  // The server has a page for every failure: show that one by asking again without htmx.
  if (event.detail.requestConfig.verb === 'get') location.assign(event.detail.pathInfo.requestPath);
  else say('The box refused this. Load the page again and look at the state of the host.');
});

// --- An upload tells how far it is; what comes after its last byte has no measure.
document.body.addEventListener('htmx:xhr:progress', ({ target, detail: { lengthComputable, loaded, total } }) => {
  const bar = target.id === 'load' && byId('bar-load');
  if (!bar || !lengthComputable) return;
  bar.hidden = false;
  if (loaded < total) bar.value = 100 * loaded / total;
  else bar.removeAttribute('value');
});
document.body.addEventListener('htmx:sendError', ({ target }) => {
  if (target.id !== 'load') return;
  byId('bar-load').hidden = true;
  say('The upload broke off. Nothing of it was kept. Try again.');
});

// --- Keys. Single letters can be switched off (WCAG 2.1.4).
const keysOn = byId('keys-on');
try { keysOn.checked = localStorage.getItem('keys') !== 'off'; } catch { /* storage is forbidden here: keys stay on */ }
keysOn.addEventListener('change', () => { try { localStorage.setItem('keys', keysOn.checked ? 'on' : 'off'); } catch { /* as above */ } });
document.querySelector('[data-keys]').addEventListener('click', () => keys.showModal());
document.addEventListener('keydown', event => {
  if (event.key === 'Escape') for (const menu of document.querySelectorAll('details.menu[open]')) menu.open = false;
  if (!keysOn.checked || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')
    || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
  // One that waits leads; machines that are off can be installed too.
  const install = (within) => within.querySelector('.main[data-install]') || within.querySelector('[data-install]');
  const target = { '/': byId('q'), i: install(event.target.closest('tr') || document), '?': keys }[event.key];
  if (!target) return;
  event.preventDefault();
  if (target === keys) keys.showModal();
  else if (event.key === 'i') target.click();
  else { target.focus(); target.select(); }
});
// One menu at a time, and a click elsewhere closes it.
document.addEventListener('click', event => {
  for (const menu of document.querySelectorAll('details.menu[open]')) if (!menu.contains(event.target)) menu.open = false;
});

// --- Theme: shown at once, kept by the server.
byId('look').addEventListener('change', event => {
  const form = event.currentTarget, data = new FormData(form);
  for (const name of ['theme', 'contrast']) {
    if (data.get(name) === 'system') delete root.dataset[name];
    else root.dataset[name] = data.get(name);
  }
  fetch(form.action, { method: 'POST', body: new URLSearchParams(data), redirect: 'manual' }).catch(() => {});
});
})();
