// Points of a plane on a canvas: zoomed and moved by pointer, wheel, pinch and keys, named where there is room.

const NEAR = 18; // pixels within which a point answers the pointer
const NAMES = 160; // names tried at each drawing

export class Plane {
  /**
   * @param {HTMLCanvasElement} canvas where to draw.
   * @param {object} found the answer of `/v1/map`.
   * @param {object} given `visible(point)`, `onpoint(point or null)`, `onopen(point)`, `signal` that ends it; `still` for a picture
   *   that neither moves nor answers.
   */
  constructor(canvas, found, { visible = () => true, onpoint, onopen, signal, still = false }) {
    Object.assign(this, { canvas, points: found.points, visible, onpoint, onopen, still });
    this.pen = canvas.getContext("2d");
    this.scale = 1;
    this.x = this.y = 0;
    this.at = null;
    this.held = new Map();
    const listen = (target, name, call, more) => target.addEventListener(name, call, { signal, ...more });
    listen(matchMedia("(prefers-color-scheme: dark)"), "change", () => this.draw());
    const watch = new ResizeObserver(() => this.draw());
    watch.observe(canvas);
    signal.addEventListener("abort", () => watch.disconnect());
    if (still) return;
    listen(canvas, "wheel", (event) => this.#wheel(event), { passive: false });
    listen(canvas, "pointerdown", (event) => this.#down(event));
    listen(canvas, "pointermove", (event) => this.#move(event));
    listen(canvas, "pointerup", (event) => this.#up(event));
    listen(canvas, "pointercancel", (event) => this.held.delete(event.pointerId));
    listen(canvas, "pointerleave", () => this.#point(null));
    listen(canvas, "keydown", (event) => this.#key(event));
  }

  /** See all of it. */
  whole() {
    Object.assign(this, { scale: 1, x: 0, y: 0, at: null });
    this.draw();
  }

  /** See a point from near. */
  look(point) {
    Object.assign(this, { scale: 5, x: point.x, y: point.y });
    this.#point(point);
    this.draw();
  }

  /** Draw what is visible. */
  draw() {
    const { canvas, pen } = this;
    const sharp = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width) return;
    canvas.width = width * sharp;
    canvas.height = height * sharp;
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    const style = getComputedStyle(canvas);
    const colour = (kind) => style.getPropertyValue(`--kind-${kind < 0 ? "other" : kind}`);
    const size = this.still ? 1.1 : Math.min(3.4, 1.9 + this.scale * 0.25);
    for (const kind of [-1, ...Array(9).keys()]) {
      pen.fillStyle = colour(kind);
      pen.globalAlpha = kind < 0 ? 0.45 : 0.8;
      pen.beginPath();
      for (const point of this.points) {
        if (point.kind !== kind || !this.visible(point)) continue;
        const [x, y] = this.#screen(point);
        const radius = size + Math.min(3, Math.log10(1 + point.links) * 0.9 - 1);
        pen.moveTo(x + radius, y);
        pen.arc(x, y, Math.max(1.2, radius), 0, 7);
      }
      pen.fill();
    }
    pen.globalAlpha = 1;
    this.#names(style, width, height);
    if (this.at) this.#ring(style);
  }

  #names(style, width, height) {
    const { pen } = this;
    pen.font = `500 12px ${style.fontFamily}`;
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    pen.lineWidth = 3.5;
    pen.strokeStyle = style.getPropertyValue("--paper");
    pen.fillStyle = style.getPropertyValue("--ink");
    const boxes = [];
    let tried = 0;
    const turns = inTurns(this.points.filter((point) => this.visible(point)));
    for (const point of turns) {
      const [x, y] = this.#screen(point);
      if (x < 0 || y < 10 || x > width || y > height - 10) continue;
      if ((tried += 1) > NAMES) break;
      const text = cut(point.label ?? point.id);
      const long = pen.measureText(text).width;
      const left = x + 8 + long < width ? x + 8 : x - 8 - long;
      const box = [left - 6, y - 11, left + long + 6, y + 11];
      if (boxes.some((one) => box[0] < one[2] && one[0] < box[2] && box[1] < one[3] && one[1] < box[3])) continue;
      boxes.push(box);
      pen.strokeText(text, left, y);
      pen.fillText(text, left, y);
      if (boxes.length > (this.still ? 9 : 14 + this.scale * 8)) break;
    }
  }

  #ring(style) {
    const { pen } = this;
    const [x, y] = this.#screen(this.at);
    pen.strokeStyle = style.getPropertyValue("--ink");
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(x, y, 8, 0, 7);
    pen.stroke();
    const text = cut(this.at.label ?? this.at.id, 60);
    pen.font = `600 13px ${style.fontFamily}`;
    const long = pen.measureText(text).width;
    const left = Math.max(4, Math.min(x + 14, this.canvas.clientWidth - long - 14));
    pen.fillStyle = style.getPropertyValue("--ink");
    pen.beginPath();
    pen.roundRect(left - 7, y - 32, long + 14, 24, 6);
    pen.fill();
    pen.fillStyle = style.getPropertyValue("--paper");
    pen.fillText(text, left, y - 20);
  }

  #unit() {
    return (Math.min(this.canvas.clientWidth, this.canvas.clientHeight) / 2 - 14) * this.scale;
  }

  #screen(point) {
    const unit = this.#unit();
    // A wide canvas shows all of its width: the plane is stretched to it, for directions mean nothing.
    const wide = Math.min(1.9, Math.max(1, this.canvas.clientWidth / this.canvas.clientHeight));
    return [this.canvas.clientWidth / 2 + (point.x - this.x) * unit * wide, this.canvas.clientHeight / 2 + (point.y - this.y) * unit];
  }

  #nearest(x, y) {
    let [best, least] = [null, NEAR * NEAR];
    for (const point of this.points) {
      if (!this.visible(point)) continue;
      const [px, py] = this.#screen(point);
      const far = (px - x) ** 2 + (py - y) ** 2;
      if (far < least) [best, least] = [point, far];
    }
    return best;
  }

  #point(point) {
    if (point === this.at) return;
    this.at = point;
    this.onpoint(point);
    this.draw();
  }

  #zoom(by, x, y) {
    const wide = Math.min(1.9, Math.max(1, this.canvas.clientWidth / this.canvas.clientHeight));
    const [dx, dy] = [(x - this.canvas.clientWidth / 2) / wide, y - this.canvas.clientHeight / 2];
    const before = this.#unit();
    this.scale = Math.max(0.8, Math.min(60, this.scale * by));
    const after = this.#unit();
    this.x += dx / before - dx / after; // what is under the pointer stays there
    this.y += dy / before - dy / after;
    this.draw();
  }

  #wheel(event) {
    event.preventDefault();
    this.#zoom(Math.exp(-event.deltaY * 0.0016), event.offsetX, event.offsetY);
  }

  #down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.held.set(event.pointerId, [event.offsetX, event.offsetY]);
    this.moved = 0;
  }

  #move(event) {
    const before = this.held.get(event.pointerId);
    if (!before) return this.#point(this.#nearest(event.offsetX, event.offsetY));
    const [dx, dy] = [event.offsetX - before[0], event.offsetY - before[1]];
    this.moved += Math.abs(dx) + Math.abs(dy);
    if (this.held.size === 2) {
      const other = [...this.held.entries()].find(([id]) => id !== event.pointerId)[1];
      const far = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1;
      const now = [event.offsetX, event.offsetY];
      this.#zoom(far(now) / far(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    } else {
      const wide = Math.min(1.9, Math.max(1, this.canvas.clientWidth / this.canvas.clientHeight));
      this.x -= dx / this.#unit() / wide;
      this.y -= dy / this.#unit();
      this.draw();
    }
    this.held.set(event.pointerId, [event.offsetX, event.offsetY]);
  }

  #up(event) {
    this.held.delete(event.pointerId);
    if (this.moved > 6) return;
    const point = this.#nearest(event.offsetX, event.offsetY);
    if (event.pointerType === "touch" && point !== this.at) this.#point(point); // first touch names, second opens
    else if (point) this.onopen(point);
  }

  #key(event) {
    const step = 0.12 / this.scale;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const [width, height] = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2];
    if (moves[event.key]) {
      this.x += moves[event.key][0];
      this.y += moves[event.key][1];
      this.draw();
      this.#point(this.#nearest(width, height));
    } else if (event.key === "+" || event.key === "=") this.#zoom(1.4, width, height);
    else if (event.key === "-") this.#zoom(1 / 1.4, width, height);
    else if (event.key === "0") this.whole();
    else if (event.key === "Enter" && this.at) this.onopen(this.at);
    else return;
    event.preventDefault();
  }
}

/** The best-connected of each kind in turns, so that no kind takes all names. */
function inTurns(points) {
  const places = new Map();
  return points
    .map((point) => {
      const turn = places.get(point.kind) ?? 0;
      places.set(point.kind, turn + 1);
      return [turn, point];
    })
    .sort((one, other) => one[0] - other[0])
    .map(([, point]) => point);
}

const cut = (text, most = 26) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
