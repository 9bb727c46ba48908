// Two texts word by word: what was added and what was struck out, as <ins> and <del>.
const MOST = 4_000_000;

const pieces = (text) => text.match(/\s+|[^\s]+/g) ?? [];

// Longest common subsequence of two short lists, as pairs of [kind, piece].
function compare(before, after) {
  const width = after.length + 1;
  const table = new Uint16Array((before.length + 1) * width);
  for (let i = before.length - 1; i >= 0; i -= 1) {
    for (let j = after.length - 1; j >= 0; j -= 1) {
      table[i * width + j] = before[i] === after[j]
        ? table[(i + 1) * width + j + 1] + 1
        : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    }
  }
  const parts = [];
  let i = 0;
  let j = 0;
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      parts.push(["same", before[i]]);
      i += 1;
      j += 1;
    } else if (i < before.length && (j === after.length || table[(i + 1) * width + j] >= table[i * width + j + 1])) {
      parts.push(["del", before[i]]);
      i += 1;
    } else {
      parts.push(["ins", after[j]]);
      j += 1;
    }
  }
  return parts;
}

export function difference(beforeText, afterText) {
  const before = pieces(beforeText);
  const after = pieces(afterText);
  let start = 0;
  while (start < before.length && before[start] === after[start]) start += 1;
  let end = 0;
  const room = Math.min(before.length, after.length) - start;
  while (end < room && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  const middle = [before.slice(start, before.length - end), after.slice(start, after.length - end)];
  const parts = middle[0].length * middle[1].length > MOST
    ? [["del", middle[0].join("")], ["ins", middle[1].join("")]]
    : compare(...middle);
  const same = (list) => list.map((piece) => ["same", piece]);
  return [...same(before.slice(0, start)), ...parts, ...same(before.slice(before.length - end))];
}

export function draw(box, before, after) {
  const changed = before !== after;
  box.replaceChildren(...(changed ? difference(before, after) : []).map(([kind, piece]) => {
    if (kind === "same") return document.createTextNode(piece);
    const element = document.createElement(kind);
    element.textContent = piece;
    return element;
  }));
}
