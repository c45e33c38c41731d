// A confusion matrix of any size on a canvas. The pointer or the arrow keys select a cell and show its numbers, a click
// or Enter opens it, and dragging enlarges a part. Class names and counts appear if there is space for them.

const MOST_NAMES = 40 // class names beside an axis
const LONGEST_NAME = 150, PLAIN_MARGIN = 8, TOP = 8, TITLE = 20 // pixels
const SCALE_WIDTH = 14, SCALE_HEIGHT = 160, SCALES = 2 * SCALE_WIDTH + 64
const FEWEST = 4 // classes of the smallest enlarged part
const DRAG = 12 // pixels: a shorter movement is a click
const FAINTEST = 0.18 // of a colour, in the cell of the smallest share

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
    const pen = canvas.getContext("2d"), font = `12px ${style.fontFamily}`
    pen.font = font
    const longest = named ? this.longestName(pen, Math.min(LONGEST_NAME, width / 5)) + 8 : PLAIN_MARGIN
    this.left = TITLE + longest
    const side = Math.max(120, Math.min(width - this.left - SCALES, named ? 26 * shown + 160 : 680))
    this.size = side / shown
    this.dark = (style.color.match(/\d+/)?.[0] ?? 0) > 127 // the page is dark if its text is light
    const names = named ? longest / Math.SQRT2 + 10 : PLAIN_MARGIN, height = TOP + side + names + TITLE
    canvas.style.height = `${height}px`
    Object.assign(canvas, { width: width * scale, height: height * scale })
    pen.scale(scale, scale)
    Object.assign(pen, { font, textBaseline: "middle" })
    this.drawSquares(pen)
    pen.strokeStyle = pen.fillStyle = style.color
    pen.globalAlpha = 0.35
    pen.strokeRect(this.left - 0.5, TOP - 0.5, side + 1, side + 1)
    pen.globalAlpha = 1
    if (named) this.drawNames(pen, TOP + side, longest)
    pen.textAlign = "center"
    fillTurned(pen, "predicted class", this.left + side / 2, height - TITLE / 2, 0)
    fillTurned(pen, "label", 8, TOP + side / 2, -Math.PI / 2)
    this.drawScales(pen, this.left + side + 14, Math.min(side, SCALE_HEIGHT))
    for (const [cell, lineWidth] of [[this.data.chosen, 3], [this.cursor, 1]]) {
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

  // The widest of the names that are shown, in pixels.
  longestName(pen, most) {
    const widths = this.corner.map((first) =>
      Math.max(...this.data.names.slice(first, first + this.shown).map((name) => pen.measureText(name).width)))
    return Math.min(most, Math.ceil(Math.max(...widths)))
  }

  drawSquares(pen) {
    const { data } = this, half = this.size / 2
    const square = Math.max(1.5, this.size > 8 ? this.size - 1 : this.size)
    const cells = data.label.map((label, k) => [label, data.prediction[k]])
    const widest = pen.measureText(Math.max(0, ...data.count.filter((_, k) => this.isShown(cells[k])))).width
    const counted = widest + 4 <= this.size && this.size >= 15
    this.root.dataset.counts = counted
    pen.textAlign = "center"
    for (const [k, cell] of cells.entries()) {
      if (!this.isShown(cell)) continue
      const [x, y] = this.centre(...cell)
      const colour = this.colour(data.count[k] / data.total[cell[0]], cell[0] === cell[1])
      pen.fillStyle = rgb(colour)
      pen.fillRect(x - half, y - half, square, square)
      if (!counted) continue
      pen.fillStyle = contrast(colour)
      pen.fillText(data.count[k], x - 0.5, y)
    }
  }

  describe(cell) {
    const { names, count, total } = this.data, [row, column] = cell
    const n = count[this.indexOf(cell)] ?? 0, share = ((100 * n) / (total[row] || 1)).toFixed(1)
    return `${names[row]}, predicted ${names[column]}: ${n} ${n === 1 ? "clip" : "clips"}, ${share} % of the label`
  }

  drawNames(pen, bottom, longest) {
    pen.textAlign = "right"
    for (let i = 0; i < this.shown; i++) {
      const cell = this.corner.map((first) => first + i), [x, y] = this.centre(...cell)
      const [label, prediction] = cell.map((k) => shortened(pen, this.data.names[k], longest - 4))
      fillTurned(pen, label, this.left - 6, y, 0)
      fillTurned(pen, prediction, x, bottom + 6, -Math.PI / 4, 6)
    }
  }

  // From the page's colour to that of correct or of misclassified clips, for shares from 0 to 1; a rare mistake is faint.
  colour(share, correct) {
    const t = share && FAINTEST + (1 - FAINTEST) * Math.sqrt(share), page = this.dark ? [14, 17, 23] : [255, 255, 255]
    const full = this.data.colours[correct ? "correct" : "misclassified"]
    const end = this.dark ? full.map((c) => c + 0.35 * (255 - c)) : full
    return page.map((from, i) => Math.round(from + t * (end[i] - from)))
  }

  drawScales(pen, x, height) {
    const names = [["correct", true], ["misclassified", false]]
    for (const [k, [name, correct]] of names.entries()) {
      const at = x + k * (SCALE_WIDTH + 4)
      for (let i = 0; i < height; i++) {
        pen.fillStyle = rgb(this.colour(1 - i / height, correct))
        pen.fillRect(at, TOP + i, SCALE_WIDTH, 1)
      }
      pen.fillStyle = getComputedStyle(this.root).color
      pen.textAlign = "right"
      fillTurned(pen, name, at + SCALE_WIDTH / 2, TOP + height + 8, -Math.PI / 2)
    }
    pen.textAlign = "left"
    for (const share of [1, 0.5, 0])
      pen.fillText(`${100 * share} %`, x + 2 * SCALE_WIDTH + 8, TOP + 5 + (1 - share) * (height - 10))
  }
}

function rgb(colour) {
  return `rgb(${colour.join(", ")})`
}

// Black or white, whichever is read more easily on this colour.
function contrast([red, green, blue]) {
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#000000" : "#ffffff"
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
