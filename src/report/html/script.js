'use strict';
// Shows the findings of the report that lies in this page as JSON: searched, filtered,
// page by page, and as the tree of the image. Text is only ever set as text.
(() => {
  const report = JSON.parse(document.getElementById('report').textContent);
  const explorer = document.getElementById('explorer');
  if (!report.findings.length && !(report.tree || []).length) return;

  const PAGE = 50; // places shown at a time
  const PAPER = 20; // places printed with all that is in them
  const CHILDREN = 200; // entries of a folder shown at a time
  const LONGEST = 20000; // characters of a value shown
  // The worst first, as `Risk` orders them.
  const RISKS = ['setuid', 'capability', 'device', 'executable', 'account', 'key', 'package-source', 'link', 'service',
    'running', 'hidden'];
  const STATES = ['identical', 'explained', 'waived', 'unexplained'];
  const WORDS = { explained: 'explained', waived: 'accepted by waiver', unexplained: 'no known cause' };

  const make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value !== undefined && value !== null) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== undefined && child !== null && child !== ''));
    return element;
  };
  const number = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, ',');
  const counted = (value, noun) => `${number(value)} ${noun}${value === 1 ? '' : 's'}`;
  const count = (map, key) => map.set(key, (map.get(key) || 0) + 1);
  // What hides itself or reorders what is around it is shown by its code.
  const MISLEADING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
  const plain = (text) => {
    const shown = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
    return shown.replace(MISLEADING, (character) => `\\u{${character.charCodeAt(0).toString(16)}}`);
  };

  const causes = new Map(report.causes.map((cause) => [cause.id, cause]));
  const waiverOf = (finding) => {
    const { acceptance } = finding;
    if (typeof acceptance !== 'object' || acceptance === null) return [acceptance, undefined];
    const [word, index] = Object.entries(acceptance)[0];
    return [word, report.policy.waivers[index]];
  };
  const acceptanceOf = (finding) => waiverOf(finding)[0];
  const stateOf = (finding) => {
    if (acceptanceOf(finding) === 'waived') return 'waived';
    return finding.cause ? 'explained' : 'unexplained';
  };
  const isRejected = (finding) => ['rejected', 'expired'].includes(acceptanceOf(finding));
  const rankOf = (finding) => (finding.cause ? 2 : 0) + ((finding.risks || []).length ? 0 : 1);
  const weightOf = (finding) => {
    const judged = isRejected(finding) ? 0 : acceptanceOf(finding) === 'waived' ? 4 : 8;
    return judged + rankOf(finding);
  };
  const attributeOf = (finding) => (finding.detail ? `${finding.attribute} ${finding.detail}` : finding.attribute);
  const ownerOf = (finding) => {
    if (!finding.owner) return '';
    const word = (side) => (side ? `${side.name} ${side.version}` : 'none');
    const { published, rebuilt } = finding.owner;
    return word(published) === word(rebuilt) ? word(published) : `${word(published)} / ${word(rebuilt)}`;
  };
  const ownerName = (finding) => {
    const side = finding.owner && (finding.owner.published || finding.owner.rebuilt);
    return side ? side.name : '';
  };
  const layerOf = (finding) => {
    if (!finding.layer) return '';
    const { published, rebuilt } = finding.layer;
    return String(published ?? `${rebuilt} of the rebuilt image`);
  };
  // The instruction that made a finding's layer, or how far the history tells.
  const madeBy = (finding) => {
    const { published, rebuilt } = finding.layer;
    const layers = published === null ? report.rebuilt && report.rebuilt.layers : report.subject.layers;
    const layer = layers && layers[published ?? rebuilt];
    if (!layer) return [];
    const code = (text) => make('code', {}, plain(text));
    if (layer.instruction) return [': ', code(layer.instruction)];
    const steps = layer.steps || [];
    if (!steps.length) return [': the history does not tell what made it'];
    if (steps.length === 1) return [': squashed, ', code(steps[0]), ' among what made it'];
    return [`: one of ${counted(steps.length, 'step')}, or several of them; the history does not tell`, make('ol', {}, ...steps.map((step) => make('li', {}, code(step))))];
  };

  // All findings at one place are one row; what was not accepted comes first, then the worst.
  const byPlace = new Map();
  for (const finding of report.findings) {
    const layers = finding.visibility === 'hidden' ? JSON.stringify(finding.layer) : '';
    const key = `${finding.within} ${finding.location} ${layers}`;
    if (!byPlace.has(key)) byPlace.set(key, []);
    byPlace.get(key).push(finding);
  }
  const places = [...byPlace.values()].map((findings) => {
    const weight = (finding) => 2 * weightOf(finding) + (finding.attribute === 'size' ? 1 : 0);
    findings.sort((one, other) => weight(one) - weight(other));
    const [worst] = findings;
    const words = findings.map((finding) =>
      [attributeOf(finding), ownerOf(finding), finding.cause ? `${finding.cause.id} ${finding.cause.evidence}` : ''].join(' '));
    const risks = findings.flatMap((finding) => finding.risks || []).map((risk) => RISKS.indexOf(risk));
    return {
      findings,
      worst,
      risk: Math.min(RISKS.length, ...risks),
      accepted: findings.every((finding) => acceptanceOf(finding) === 'accepted'),
      location: worst.location,
      order: weightOf(worst),
      state: findings.map(stateOf).reduce((one, other) =>
        (STATES.indexOf(one) > STATES.indexOf(other) ? one : other)),
      text: `${worst.location} ${words.join(' ')}`.toLowerCase(),
    };
  });
  places.sort((one, other) => one.order - other.order || one.risk - other.risk);

  // ---- Filters ----

  const chosen = { text: '', folder: '' };
  const FILTERS = [
    ['state', 'State', (finding) => [stateOf(finding)], (value) => WORDS[value]],
    ['cause', 'Cause', (finding) => [finding.cause ? finding.cause.id : ''],
      (value) => (value ? `${value}: ${(causes.get(value) || { title: '' }).title}` : 'none that is known')],
    ['owner', 'Package', (finding) => [ownerName(finding)], (value) => value || 'of no package'],
    ['layer', 'Layer', (finding) => [layerOf(finding)], (value) => (value ? `layer ${value}` : 'in no layer')],
    ['risk', 'Risk', (finding) => ((finding.risks || []).length ? finding.risks : ['']), (value) => value || 'none'],
    ['acceptance', 'Acceptance', (finding) => [acceptanceOf(finding)], (value) => value],
  ];
  const isIn = (location, folder) =>
    folder === '' || location === folder || location.startsWith(folder === '/' ? '/' : `${folder}/`);
  const matches = (place) => {
    if (!isIn(place.location, chosen.folder)) return false;
    if (chosen.text && !place.text.includes(chosen.text)) return false;
    // One and the same finding must be all that is asked for.
    return place.findings.some((finding) =>
      FILTERS.every(([key, , values]) => chosen[key] === undefined || values(finding).includes(chosen[key])));
  };
  const isFiltered = () => chosen.text !== '' || FILTERS.some(([key]) => chosen[key] !== undefined);

  const search = make('input', { type: 'search', id: 'search', autocomplete: 'off', 'aria-keyshortcuts': '/' });
  const filters = make('div', { class: 'filters', role: 'search', 'aria-label': 'Filter the differences' },
    make('label', { class: 'search' }, 'Search path, cause, package (press / to get here)', search));
  const selects = new Map();
  for (const [key, name, values, word] of FILTERS) {
    const counts = new Map();
    for (const place of places) {
      for (const value of new Set(place.findings.flatMap(values))) count(counts, value);
    }
    const options = [...counts].sort(([one, many], [other, more]) => more - many || (one < other ? -1 : 1));
    const select = make('select', { id: `filter-${key}` }, make('option', { value: '*' }, 'all'));
    options.forEach(([value, times], index) => {
      const text = plain(word(value) || '');
      const short = text.length > 60 ? `${text.slice(0, 59)}…` : text;
      select.append(make('option', { value: index }, `${short} (${number(times)})`));
    });
    select.addEventListener('change', () => {
      chosen[key] = select.value === '*' ? undefined : options[select.value][0];
      update();
    });
    selects.set(key, select);
    filters.append(make('label', {}, name, select));
  }
  const clear = make('button', { type: 'button', id: 'clear' }, 'Show all');
  clear.addEventListener('click', () => {
    search.value = '';
    chosen.text = '';
    chosen.folder = '';
    for (const [key, select] of selects) {
      select.value = '*';
      chosen[key] = undefined;
    }
    update();
    search.focus();
  });
  filters.append(clear);
  let waiting;
  search.addEventListener('input', () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      chosen.text = search.value.trim().toLowerCase();
      update();
    }, 120);
  });
  document.addEventListener('keydown', (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  });

  // ---- One place ----

  // Marks what is left of two texts without what both begin and end with.
  const marked = (one, other) => {
    const end = Math.min(one.length, other.length);
    let start = 0;
    while (start < end && one[start] === other[start]) start += 1;
    let tail = 0;
    while (tail < end - start && one[one.length - 1 - tail] === other[other.length - 1 - tail]) tail += 1;
    const cut = (text) => {
      const middle = text.slice(start, text.length - tail);
      return [text.slice(0, start), middle ? make('mark', {}, middle) : '', text.slice(text.length - tail)];
    };
    return start + tail === 0 ? [[one], [other]] : [cut(one), cut(other)];
  };
  const cell = (kind, content) => make('td', { class: kind }, ...content);
  const sides = (label, rows) => make('table', { class: 'sides', 'aria-label': label },
    make('thead', {}, make('tr', {}, ...['published', 'rebuilt'].map((side) =>
      make('th', { scope: 'col', colspan: rows.columns || 1 }, side)))),
    make('tbody', {}, ...rows));

  const valueText = (value) => {
    if (value === null || value === undefined) return '–';
    return plain(typeof value === 'string' ? value : JSON.stringify(value, null, 1));
  };
  const dated = (finding, text) => {
    if (!/^(mtime|atime|ctime)$/.test(finding.attribute)) return text;
    const date = new Date(1000 * Number(text));
    return Number.isNaN(date.getTime()) ? text : `${text} (${date.toISOString().replace('.000Z', 'Z')})`;
  };
  const valueRows = (one, other) => {
    const [published, rebuilt] = one === '–' || other === '–' ? [[one], [other]] : marked(one, other);
    return [make('tr', {}, cell('published', published), cell('rebuilt', rebuilt))];
  };

  const linesTable = (change, place) => {
    const rows = [];
    rows.columns = 2;
    const at = { published: change.from.published, rebuilt: change.from.rebuilt };
    let runs = { published: [], rebuilt: [] };
    const row = (published, rebuilt, kind) => {
      const texts = published !== undefined && rebuilt !== undefined && kind
        ? marked(plain(published), plain(rebuilt))
        : [[plain(published ?? '')], [plain(rebuilt ?? '')]];
      const cells = [[published, texts[0], 'published'], [rebuilt, texts[1], 'rebuilt']].flatMap(([text, content, side]) => {
        const line = text === undefined ? '' : String(at[side]++);
        return [cell('number', [line]), cell(text !== undefined && kind ? side : '', content)];
      });
      rows.push(make('tr', {}, ...cells));
    };
    const flush = () => {
      const longest = Math.max(runs.published.length, runs.rebuilt.length);
      for (let index = 0; index < longest; index += 1) row(runs.published[index], runs.rebuilt[index], true);
      runs = { published: [], rebuilt: [] };
    };
    for (const line of change.lines) {
      if (line.on === 'both') {
        flush();
        row(line.text, line.text, false);
      } else {
        if (line.on === 'published' && runs.rebuilt.length) flush();
        runs[line.on].push(line.text);
      }
    }
    flush();
    const table = sides(place, rows);
    table.prepend(make('colgroup', {}, ...['number', '', 'number', ''].map((kind) => make('col', { class: kind }))));
    return table;
  };

  // Bytes side by side, rows beginning at multiples of their width, with what is equal around them.
  const bytesTable = (change, place) => {
    const WIDTH = 8;
    const pairs = (hex) => (hex || '').match(/../g) || [];
    const [one, other, before, after] =
      [change.hex.published, change.hex.rebuilt, change.before, change.after].map(pairs);
    const shown = Math.max(one.length, other.length);
    const leftOut = Math.max(change.length.published, change.length.rebuilt) - shown;
    const cells = [...before.map((byte) => [byte, byte])];
    for (let at = 0; at < shown; at += 1) cells.push([one[at], other[at]]);
    const gap = leftOut > 0 ? cells.length : undefined;
    cells.push(...after.map((byte) => [byte, byte]));
    const start = [change.offset.published, change.offset.rebuilt].map((offset) => offset - before.length);
    const lead = ((start[0] % WIDTH) + WIDTH) % WIDTH;
    const rows = [];
    rows.columns = 3;
    const side = (row, index, blank, skipped) => {
      const hex = ['   '.repeat(blank)];
      const letters = [' '.repeat(blank)];
      for (const cell of row) {
        const byte = cell[index];
        if (byte === undefined) continue;
        const code = parseInt(byte, 16);
        const letter = code > 31 && code < 127 ? String.fromCharCode(code) : '·';
        const differs = cell[0] !== cell[1];
        hex.push(differs ? make('mark', {}, byte) : byte, ' ');
        letters.push(differs ? make('mark', {}, letter) : letter);
      }
      const kind = row.some((cell) => cell[0] !== cell[1]) ? ['published', 'rebuilt'][index] : '';
      const has = row.some((cell) => cell[index] !== undefined);
      const offset = has ? Math.max(0, start[index] + skipped).toString(16).padStart(8, '0') : '';
      return [cell('number', [offset]), cell(kind, hex), cell(`letters ${kind}`, letters)];
    };
    const stretch = (from, to, skipped) => {
      for (let at = from; at < to;) {
        const blank = (lead + at + skipped) % WIDTH;
        const row = cells.slice(at, Math.min(to, at + WIDTH - blank));
        rows.push(make('tr', {}, ...[0, 1].flatMap((index) => side(row, index, blank, at + skipped))));
        at += row.length;
      }
    };
    stretch(0, gap ?? cells.length, 0);
    if (gap !== undefined) {
      rows.push(make('tr', {}, make('td', { colspan: 6, class: 'left-out' }, `… ${counted(leftOut, 'byte')} that the report does not hold`)));
      stretch(gap, cells.length, leftOut);
    }
    const said = ['published', 'rebuilt'].map((name) =>
      `${name}: ${counted(change.length[name], 'byte')} at 0x${change.offset[name].toString(16)}, `
      + `entropy ${(change.entropy[name] / 1000).toFixed(1)} of 8 bits`);
    const table = sides(place, rows);
    table.classList.add('bytes');
    return make('div', {}, make('div', { class: 'remedy' }, said.join('; ')), make('div', { class: 'wide' }, table));
  };

  const contentView = (content) => {
    const view = make('div', { class: 'content' },
      make('div', { class: 'remedy' }, `Read as ${content.format}, ${counted(content.parts.length, 'place')} inside:`));
    for (const part of content.parts) {
      const name = plain(part.place);
      const box = make('div', { class: 'part' }, make('div', { class: 'place-name' }, name));
      const { change } = part;
      if (change.kind === 'value') box.append(sides(name, valueRows(valueText(change.published), valueText(change.rebuilt))));
      else if (change.kind === 'lines') box.append(linesTable(change, name));
      else if (change.kind === 'bytes') box.append(bytesTable(change, name));
      else if (change.kind === 'inside') {
        const inner = contentView(change.content);
        inner.classList.add('nested');
        box.append(inner);
      }
      view.append(box);
    }
    if (content.leftOut) view.append(make('p', {}, `… and at least ${counted(content.leftOut, 'further place')} that the report does not list.`));
    return view;
  };

  const findingView = (finding) => {
    const view = make('div', { class: 'finding' }, make('h4', {}, plain(attributeOf(finding))));
    const texts = [finding.published, finding.rebuilt].map((value) => dated(finding, valueText(value)));
    // What is inside says more than two hashes.
    if (finding.content) view.append(contentView(finding.content));
    view.append(sides(`values of ${attributeOf(finding)}`, valueRows(...texts)));
    const facts = make('dl', {});
    const fact = (name, ...content) => facts.append(make('dt', {}, name), make('dd', {}, ...content));
    const [word, waiver] = waiverOf(finding);
    const said = { accepted: 'accepted', rejected: 'not accepted', waived: 'accepted by a waiver', expired: 'not accepted, since a waiver has expired' };
    fact('policy', said[word], waiver
      ? `: ${plain(waiver.reason)} (${plain(waiver.owner)}, until ${plain(String(waiver.expires))})` : '');
    if (finding.cause) {
      const cause = causes.get(finding.cause.id) || { title: finding.cause.id, advice: '' };
      fact('cause', `${plain(cause.title)} (${plain(finding.cause.id)})`);
      fact('evidence', plain(finding.cause.evidence));
      if (cause.advice) fact('to avoid it', plain(cause.advice));
    } else {
      fact('cause', make('strong', {}, 'none that is known'));
    }
    for (const tried of finding.tried || []) fact('not', `${plain(tried.cause)}: ${plain(tried.refused)}`);
    if ((finding.risks || []).length) fact('look at it, since it is about', finding.risks.join(', '));
    if (finding.owner) fact('package', plain(ownerOf(finding)));
    if (finding.layer) fact('layer', layerOf(finding), ...madeBy(finding));
    if (finding.visibility === 'hidden') fact('visibility', 'a container does not see it');
    fact('bears on', plain(String(finding.bearing)));
    if (finding.notLookedInto) fact('not looked into', plain(finding.notLookedInto));
    view.append(facts);
    return view;
  };

  const placeView = (place) => {
    const risks = [...new Set(place.findings.flatMap((finding) => finding.risks || []))];
    const row = make('details', { class: 'place' },
      make('summary', {},
        make('span', { class: `state ${place.state}` }, WORDS[place.state]), ' ',
        make('code', { class: 'path' }, plain(place.location)), ' ',
        make('span', { class: 'attributes' }, plain(place.findings.map(attributeOf).join(', '))),
        ...risks.flatMap((risk) => [' ', make('span', { class: 'risk' }, risk)]),
        ...(ownerOf(place.worst) ? [' ', make('span', { class: 'owner' }, plain(ownerOf(place.worst)))] : []),
        ...(place.accepted ? [' ', make('span', { class: 'accepted' }, 'accepted')] : [])));
    row.fill = () => {
      if (!row.filled) row.append(...place.findings.map(findingView));
      row.filled = true;
    };
    row.addEventListener('toggle', () => row.open && row.fill());
    return row;
  };

  // ---- The list ----

  const status = make('p', { class: 'count', role: 'status', id: 'count' });
  const list = make('div', { id: 'list' });
  const more = make('button', { type: 'button', class: 'more', id: 'more' });
  let found = places;
  let shown = 0;
  const next = () => {
    const from = shown;
    list.append(...found.slice(shown, shown + PAGE).map(placeView));
    shown = Math.min(shown + PAGE, found.length);
    more.hidden = shown === found.length;
    more.textContent = `Show ${number(Math.min(PAGE, found.length - shown))} more of ${number(found.length - shown)}`;
    return list.children[from];
  };
  more.addEventListener('click', () => {
    const first = next();
    if (first) first.querySelector('summary').focus();
  });

  // ---- The tree ----

  const node = (name, path) => ({ name, path, below: new Map(), places: [], own: {}, all: {}, matched: 0, folded: 0 });
  const root = node('/', '/');
  const folderAt = (path) => {
    let at = root;
    let so = '';
    for (const name of path.split('/')) {
      if (name === '') continue;
      so += `/${name}`;
      if (!at.below.has(name)) at.below.set(name, node(name, so));
      at = at.below.get(name);
    }
    return at;
  };
  for (const folder of report.tree || []) {
    const at = folderAt(folder.path);
    at.folded = folder.folded || 0;
    for (const key of ['identical', 'explained', 'waived', 'unexplained', 'onlyRebuilt']) at.own[key] = folder[key] || 0;
  }
  const entries = places.filter((place) => place.worst.within === 'entry');
  for (const place of entries) {
    place.folder = folderAt(place.location.slice(0, place.location.lastIndexOf('/')) || '/');
    place.folder.places.push(place);
  }
  // Folders come after those above them, so that from the end all sums are whole.
  const folders = [root];
  for (let index = 0; index < folders.length; index += 1) {
    for (const child of folders[index].below.values()) {
      child.above = folders[index];
      folders.push(child);
    }
  }
  for (const folder of folders) folder.all = { ...folder.own };
  for (let index = folders.length - 1; index > 0; index -= 1) {
    const { all, above } = folders[index];
    for (const key of Object.keys(all)) above.all[key] = (above.all[key] || 0) + all[key];
  }
  const worstOf = (counts) => {
    if (counts.unexplained) return 'unexplained';
    if (counts.waived) return 'waived';
    if (counts.explained) return 'explained';
    return counts.onlyRebuilt ? 'rebuilt' : 'identical';
  };
  const said = (folder) => {
    const { all } = folder;
    if (isFiltered()) return `${number(folder.matched)} found`;
    const parts = [['unexplained', 'unexplained'], ['waived', 'waived'], ['explained', 'explained'],
      ['onlyRebuilt', 'only rebuilt'], ['identical', 'identical']];
    return parts.filter(([key]) => all[key]).map(([key, word]) => `${number(all[key])} ${word}`).join(', ');
  };
  const pick = (path, name, kind) => {
    const button = make('button', { type: 'button', class: kind, 'data-path': path, title: plain(path),
      'aria-pressed': String(chosen.folder === path) }, ...name);
    button.addEventListener('click', (event) => {
      event.preventDefault();
      chosen.folder = chosen.folder === path ? '' : path;
      update(true);
    });
    return button;
  };
  const byName = (one, other) => (one < other ? -1 : Number(one > other));
  const isShown = (folder) => !isFiltered() || folder.matched > 0;
  const folderView = (folder) => {
    const view = make('details', {}, make('summary', {},
      make('span', { class: `dot ${worstOf(folder.all)}`, 'aria-hidden': 'true' }),
      pick(folder.path, [plain(folder.name)], 'folder'), ' ',
      make('span', { class: 'counts' }, said(folder))));
    const inside = make('div', {});
    view.append(inside);
    view.fill = () => {
      if (view.filled) return;
      view.filled = true;
      const children = [
        ...[...folder.below.values()].filter(isShown).sort((one, other) => byName(one.name, other.name))
          .map((child) => () => folderView(child)),
        ...folder.places.filter((place) => place.matched).sort((one, other) => byName(one.location, other.location))
          .map((place) => () => pick(place.location, [
            make('span', { class: `dot ${place.state}`, 'aria-hidden': 'true' }),
            plain(place.location.slice(place.location.lastIndexOf('/') + 1) || '/'),
            make('span', { class: 'hidden' }, `, ${WORDS[place.state]}`)], 'file')),
      ];
      let at = 0;
      const rest = make('button', { type: 'button' });
      const showSome = () => {
        inside.append(...children.slice(at, at + CHILDREN).map((child) => child()));
        at = Math.min(at + CHILDREN, children.length);
        rest.textContent = `… ${number(children.length - at)} more`;
        if (at < children.length) inside.append(rest);
        else rest.remove();
      };
      rest.addEventListener('click', showSome);
      showSome();
      if (!isFiltered() && folder.own.identical) {
        const folded = folder.folded ? `, with those of ${counted(folder.folded, 'folder')} below` : '';
        inside.append(make('div', { class: 'counts' }, `${number(folder.own.identical)} identical here${folded}`));
      }
    };
    view.addEventListener('toggle', () => view.open && view.fill());
    return view;
  };
  const tree = make('nav', { class: 'tree', 'aria-label': 'The tree of the image' });
  const legend = make('div', { class: 'legend' }, ...[['identical', 'identical'], ['explained', 'explained'],
    ['waived', WORDS.waived], ['unexplained', WORDS.unexplained], ['rebuilt', 'only rebuilt']].map(([kind, word]) =>
    make('span', {}, make('span', { class: `dot ${kind}`, 'aria-hidden': 'true' }), word)));
  const showTree = () => {
    for (const folder of folders) folder.matched = 0;
    for (const place of places) place.matched = false;
    const { folder } = chosen;
    chosen.folder = ''; // The tree stays whole while a part of it is looked at.
    for (const place of entries) {
      if (!matches(place)) continue;
      place.matched = true;
      for (let at = place.folder; at; at = at.above) at.matched += 1;
    }
    chosen.folder = folder;
    const top = folderView(root);
    tree.replaceChildren(make('h3', {}, 'The image, folder by folder'), legend, top);
    // Opens what there is no choice about, and the way to what is looked at.
    let at = top;
    let depth = 0;
    for (let path = root; at; depth += 1) {
      at.open = true;
      at.fill();
      const open = [...path.below.values()].filter((child) => isShown(child) && (child.matched || !isFiltered()));
      const differing = open.filter((child) => child.matched);
      const on = differing.length === 1 && depth < 40 ? differing[0] : undefined;
      at = on && [...at.lastChild.children].find((child) => child.querySelector?.(':scope > summary > button')?.dataset.path === on.path);
      path = on;
    }
  };

  let lastFilter;
  const update = (keepTree) => {
    found = places.filter(matches);
    shown = 0;
    list.replaceChildren();
    next();
    const within = chosen.folder ? ` in ${plain(chosen.folder)}` : '';
    status.textContent = `${number(found.length)} of ${counted(places.length, 'place')}${within}, ${
      counted(found.reduce((sum, place) => sum + place.findings.length, 0), 'difference')}`;
    const filter = JSON.stringify({ ...chosen, folder: undefined });
    if (!keepTree || filter !== lastFilter) showTree();
    lastFilter = filter;
    for (const button of tree.querySelectorAll('[aria-pressed]')) {
      button.setAttribute('aria-pressed', String(button.dataset.path === chosen.folder));
    }
    if (found.length === 1) list.firstChild.open = true;
  };

  filters.hidden = places.length === 0;
  explorer.replaceChildren(filters, make('div', { class: 'explorer' }, tree, make('div', {}, status, list, more)));
  update();

  // On paper there is nothing to open.
  let opened = [];
  window.addEventListener('beforeprint', () => {
    const others = document.querySelectorAll('main details:not(.tree *):not(.place)');
    opened = [...others, ...[...list.children].slice(0, PAPER)].filter((details) => !details.open);
    for (const details of opened) {
      if (details.fill) details.fill();
      details.open = true;
    }
  });
  window.addEventListener('afterprint', () => {
    for (const details of opened) details.open = false;
    opened = [];
  });
})();
