// A confusion matrix of any size on a canvas. The pointer or the arrow keys select a cell and show its numbers, a click
// or Enter opens it, and dragging enlarges a part. Class names appear if there is space for them.

const MOST_NAMES = 40 // class names beside an axis
const NAMES_MARGIN = 150, PLAIN_MARGIN = 28, TOP = 8, SCALE_WIDTH = 14 // pixels
const FEWEST = 4 // classes of the smallest enlarged part
const DRAG = 12 // pixels: a shorter movement is a click

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".matrix")
  const view = (root.view ??= new ConfusionMatrix(root))
  view.sendCell = (cell) => setTriggerValue("cell", cell)
  view.show(data)
}

class ConfusionMatrix {
  constructor(root) {
    const [canvas, reset, status] = ["canvas", ".reset", ".status"].map((part) => root.querySelector(part))
    Object.assign(this, { root, canvas, reset, status })
    reset.onclick = () => this.enlarge([0, 0], this.data.names.length)
    canvas.onpointerdown = (event) => {
      this.dragStart = [event.offsetX, event.offsetY]
      canvas.setPointerCapture(event.pointerId)
    }
    canvas.onpointermove = (event) => {
      this.pointer = [event.offsetX, event.offsetY]
      this.select(this.cellAt(...this.pointer))
    }
    canvas.onpointerup = (event) => this.release(event)
    canvas.onpointerleave = () => this.dragStart || this.select(null)
    canvas.onkeydown = (event) => this.key(event)
    new ResizeObserver(() => this.data && this.draw()).observe(root)
  }

  show(data) {
    const n = data.names.length
    // The first row and column of the part that is shown, and how many there are of each.
    if (this.data?.run !== data.run) Object.assign(this, { corner: [0, 0], shown: n, cursor: null })
    this.data = data
    this.colours = Uint8Array.from(atob(data.colours), (c) => c.charCodeAt(0))
    this.cellIndex = new Map(data.label.map((label, k) => [label * n + data.prediction[k], k]))
    this.draw()
  }

  // [row, column] at a point of the canvas, or null outside the matrix.
  cellAt(x, y) {
    const [row, column] = this.corner
    const cell = [row + Math.floor((y - TOP) / this.size), column + Math.floor((x - this.left) / this.size)]
    return this.isShown(cell) ? cell : null
  }

  isShown(cell) {
    return this.corner.every((first, axis) => first <= cell[axis] && cell[axis] < first + this.shown)
  }

  // The centre of a cell, in pixels of the canvas.
  centre(row, column) {
    return [this.left + (column - this.corner[1] + 0.5) * this.size, TOP + (row - this.corner[0] + 0.5) * this.size]
  }

  release(event) {
    const to = [event.offsetX, event.offsetY], from = this.dragStart ?? to
    this.dragStart = null
    const a = this.cellAt(...from), b = this.cellAt(...to), n = this.data.names.length
    if (a && b && Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1])) > DRAG) {
      const length = Math.min(n, Math.max(FEWEST, Math.abs(a[0] - b[0]) + 1, Math.abs(a[1] - b[1]) + 1))
      this.enlarge(a.map((at, axis) => Math.min(at, b[axis], n - length)), length)
    } else if (b) {
      this.select(b)
      this.openCell()
    }
  }

  key(event) {
    const size = event.shiftKey ? 10 : 1, last = this.data.names.length - 1
    const step = { ArrowUp: [-size, 0], ArrowDown: [size, 0], ArrowLeft: [0, -size], ArrowRight: [0, size] }[event.key]
    if (step) {
      const moved = this.cursor?.map((at, axis) => Math.max(0, Math.min(last, at + step[axis])))
      this.select(moved ?? this.corner)
    } else if (event.key === "Enter") this.openCell()
    else if (event.key === "Escape") this.reset.onclick()
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  indexOf([row, column]) {
    return this.cellIndex.get(row * this.data.names.length + column)
  }

  openCell() {
    if (this.cursor && this.indexOf(this.cursor) !== undefined) this.sendCell(this.cursor)
  }

  select(cursor) {
    this.cursor = cursor
    const follow = (first, axis) => Math.max(cursor[axis] - this.shown + 1, Math.min(first, cursor[axis]))
    if (cursor) this.corner = this.corner.map(follow)
    this.draw()
  }

  enlarge(corner, shown) {
    Object.assign(this, { corner, shown })
    this.draw()
  }

  draw() {
    const { root, canvas, shown } = this, named = shown <= MOST_NAMES, width = root.clientWidth
    const style = getComputedStyle(root), scale = window.devicePixelRatio || 1
    this.left = named ? Math.min(NAMES_MARGIN, width / 4) : PLAIN_MARGIN
    const side = Math.max(120, Math.min(width - this.left - SCALE_WIDTH - 60, named ? 26 * shown + 160 : 680))
    this.size = side / shown
    this.dark = (style.color.match(/\d+/)?.[0] ?? 0) > 127 // on a dark page large shares are light
    const height = TOP + side + this.left
    canvas.style.height = `${height}px`
    Object.assign(canvas, { width: width * scale, height: height * scale })
    const pen = canvas.getContext("2d")
    pen.scale(scale, scale)
    Object.assign(pen, { font: `12px ${style.fontFamily}`, textBaseline: "middle" })
    this.drawSquares(pen)
    pen.strokeStyle = pen.fillStyle = style.color
    pen.globalAlpha = 0.35
    pen.strokeRect(this.left - 0.5, TOP - 0.5, side + 1, side + 1)
    pen.globalAlpha = 1
    if (named) this.drawNames(pen, TOP + side)
    else {
      pen.textAlign = "center"
      fillTurned(pen, "predicted", this.left + side / 2, TOP + side + 14, 0)
      fillTurned(pen, "label", 14, TOP + side / 2, -Math.PI / 2)
    }
    this.drawScale(pen, this.left + side + 14, side)
    for (const [cell, lineWidth] of [[this.data.chosen, 2], [this.cursor, 1]]) {
      if (!cell || !this.isShown(cell)) continue
      const [x, y] = this.centre(...cell), half = Math.max(this.size, 7) / 2 + 1
      pen.lineWidth = lineWidth
      pen.strokeRect(x - half, y - half, 2 * half, 2 * half)
    }
    if (this.dragStart && this.pointer) {
      const [x, y] = this.dragStart
      pen.setLineDash([4, 3])
      pen.strokeRect(x, y, this.pointer[0] - x, this.pointer[1] - y)
    }
    this.reset.hidden = shown === this.data.names.length
    this.status.textContent = this.cursor ? this.describe(this.cursor) : "Point at a square to see its numbers."
    root.dataset.drawn = this.corner.map((first) => [first, first + shown]).join(" ")
  }

  drawSquares(pen) {
    const { data } = this, half = this.size / 2
    const square = Math.max(1.5, this.size > 8 ? this.size - 1 : this.size)
    for (const [k, label] of data.label.entries()) {
      const cell = [label, data.prediction[k]]
      if (!this.isShown(cell)) continue
      const [x, y] = this.centre(...cell)
      pen.fillStyle = this.colour(data.count[k] / data.total[label])
      pen.fillRect(x - half, y - half, square, square)
    }
  }

  describe(cell) {
    const { names, count, total } = this.data, [row, column] = cell
    const n = count[this.indexOf(cell)] ?? 0, share = ((100 * n) / (total[row] || 1)).toFixed(1)
    return `${names[row]}, predicted ${names[column]}: ${n} clips, ${share} % of the label`
  }

  drawNames(pen, bottom) {
    pen.textAlign = "right"
    for (let i = 0; i < this.shown; i++) {
      const cell = this.corner.map((first) => first + i), [x, y] = this.centre(...cell)
      const [label, prediction] = cell.map((k) => shortened(pen, this.data.names[k], this.left - 10))
      fillTurned(pen, label, this.left - 6, y, 0)
      fillTurned(pen, prediction, x, bottom + 6, -Math.PI / 4, 6)
    }
  }

  colour(share) {
    const i = 3 * Math.round(255 * (this.dark ? 1 - share : share))
    return `rgb(${this.colours[i]}, ${this.colours[i + 1]}, ${this.colours[i + 2]})`
  }

  drawScale(pen, x, side) {
    const height = Math.min(side, 180)
    for (let i = 0; i < height; i++) {
      pen.fillStyle = this.colour(1 - i / height)
      pen.fillRect(x, TOP + i, SCALE_WIDTH, 1)
    }
    pen.fillStyle = getComputedStyle(this.root).color
    pen.textAlign = "left"
    for (const share of [1, 0.5, 0]) pen.fillText(`${100 * share} %`, x + SCALE_WIDTH + 4, TOP + 5 + (1 - share) * (height - 10))
  }
}

function fillTurned(pen, text, x, y, angle, below = 0) {
  pen.save()
  pen.translate(x, y)
  pen.rotate(angle)
  pen.fillText(text, 0, below)
  pen.restore()
}

function shortened(pen, text, space) {
  if (pen.measureText(text).width <= space) return text
  let length = text.length
  while (length && pen.measureText(`${text.slice(0, length)}…`).width > space) length--
  return `${text.slice(0, length)}…`
}
