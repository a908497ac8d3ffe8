// The page of images alone.
(() => {
'use strict';
const byId = id => document.getElementById(id);

// --- An image goes up in pieces. A way that breaks is gone on with; after a closed page the same file goes on where it was.
const importing = byId('import');
importing?.addEventListener('submit', async event => {
  const file = byId('import-file').files[0];
  if (!file) return;
  event.preventDefault();
  const bar = byId('bar-import'), told = byId('import-told'), button = importing.querySelector('button');
  const size = bytes => bytes < 1e9 ? (bytes / 1e6).toFixed(1) + ' MB' : (bytes / 1e9).toFixed(1) + ' GB';
  const call = async (method, path, body) => {
    const answer = await fetch('/api/v1/uploads' + path, { method, body, headers: { 'X-CSRF-Token': importing.csrf.value } });
    const said = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(said.error), { status: answer.status });
    return said;
  };
  // What vouches for it, as text: a binary file is armored (RFC 9580, 6.2).
  const paper = async (field, kind) => {
    const file = byId('import-' + field).files[0];
    if (!file) return undefined;
    const text = await file.text(), at = text.indexOf('-----BEGIN');
    if (!kind || at >= 0) return text.slice(kind ? at : 0);
    const raw = new Uint8Array(await file.arrayBuffer()).reduce((raw, byte) => raw + String.fromCharCode(byte), '');
    return '-----BEGIN PGP ' + kind + '-----\n\n' + btoa(raw).replace(/.{64}/g, '$&\n') + '\n-----END PGP ' + kind + '-----\n';
  };
  const leaving = event => event.preventDefault();
  button.disabled = true;
  bar.hidden = false;
  addEventListener('beforeunload', leaving);
  try {
    const papers = JSON.stringify({
      checksums: await paper('checksums'), signature: await paper('signature', 'SIGNATURE'),
      key: await paper('key', 'PUBLIC KEY BLOCK') || byId('import-key-name').value.trim() || undefined, file: file.name,
    });
    let known = await call('POST', '', JSON.stringify({
      name: byId('import-name').value, size_bytes: file.size, origin: file.name, stamp: String(file.lastModified), sha256: byId('import-sha256').value,
    }));
    let failed = 0;
    while (known.offset < file.size) {
      bar.value = 100 * known.offset / file.size;
      told.textContent = size(known.offset) + ' of ' + size(file.size) + '; ' + size(known.free_bytes) + ' are free for images.';
      try {
        known = await call('POST', '/' + known.id + '?offset=' + known.offset, file.slice(known.offset, known.offset + 8 * 1024 * 1024));
        failed = 0;
      } catch (error) {
        // Refused for good, or the box is away for two minutes. 409: it has another offset.
        if ((error.status && error.status !== 409) || (failed += 1) > 60) throw error;
        told.textContent = 'The box does not answer. This goes on by itself once it does.';
        await new Promise(done => setTimeout(done, 2000));
        try { known = await call('GET', '/' + known.id); } catch (gone) { if (gone.status === 404) throw gone; }
      }
    }
    bar.removeAttribute('value');
    told.textContent = 'All of it is there. The box looks at what it is.';
    await call('POST', '/' + known.id + '/finish', papers);
    removeEventListener('beforeunload', leaving);
    location.assign('/images');
  } catch (error) {
    bar.hidden = true;
    told.textContent = error.message;
    byId('say').textContent = error.message;
  } finally {
    removeEventListener('beforeunload', leaving);
    button.disabled = false;
  }
});
})();
