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
    this.root = root
    this.canvas = root.querySelector("canvas")
    this.status = root.querySelector(".status")
    this.reset = root.querySelector(".reset")
    this.reset.onclick = () => this.enlarge([0, this.data.names.length], [0, this.data.names.length])
    this.canvas.onpointerdown = (event) => {
      this.dragStart = [event.offsetX, event.offsetY]
      this.canvas.setPointerCapture(event.pointerId)
    }
    this.canvas.onpointermove = (event) => this.point(event)
    this.canvas.onpointerup = (event) => this.release(event)
    this.canvas.onpointerleave = () => this.dragStart || this.select(null)
    this.canvas.onkeydown = (event) => this.key(event)
    new ResizeObserver(() => this.data && this.draw()).observe(root)
  }

  show(data) {
    const n = data.names.length
    if (this.data?.run !== data.run) [this.rows, this.columns, this.cursor] = [[0, n], [0, n], null]
    this.data = data
    this.colours = Uint8Array.from(atob(data.colours), (c) => c.charCodeAt(0))
    this.cellIndex = new Map(data.label.map((label, k) => [label * n + data.prediction[k], k]))
    this.draw()
  }

  // [row, column] at a point of the canvas, or null outside the matrix.
  cellAt(x, y) {
    const row = this.rows[0] + Math.floor((y - TOP) / this.size)
    const column = this.columns[0] + Math.floor((x - this.left) / this.size)
    const inside = row >= this.rows[0] && row < this.rows[1] && column >= this.columns[0] && column < this.columns[1]
    return inside ? [row, column] : null
  }

  // The centre of a cell, in pixels of the canvas.
  centre(row, column) {
    return [
      this.left + (column - this.columns[0] + 0.5) * this.size, TOP + (row - this.rows[0] + 0.5) * this.size,
    ]
  }

  point(event) {
    this.pointer = [event.offsetX, event.offsetY]
    this.select(this.cellAt(...this.pointer))
  }

  release(event) {
    const [x, y] = this.dragStart ?? [event.offsetX, event.offsetY]
    this.dragStart = null
    const a = this.cellAt(x, y), b = this.cellAt(event.offsetX, event.offsetY)
    if (a && b && Math.max(Math.abs(event.offsetX - x), Math.abs(event.offsetY - y)) > DRAG) {
      const n = this.data.names.length
      const length = Math.min(n, Math.max(FEWEST, Math.abs(a[0] - b[0]) + 1, Math.abs(a[1] - b[1]) + 1))
      const [rows, columns] = [0, 1].map((axis) => {
        const low = Math.min(a[axis], b[axis], n - length)
        return [low, low + length]
      })
      this.enlarge(rows, columns)
    } else if (b) {
      this.select(b)
      this.openCell()
    }
  }

  key(event) {
    const size = event.shiftKey ? 10 : 1, n = this.data.names.length
    const step = { ArrowUp: [-size, 0], ArrowDown: [size, 0], ArrowLeft: [0, -size], ArrowRight: [0, size] }[event.key]
    if (step) {
      const [row, column] = this.cursor ?? [this.rows[0], this.columns[0]]
      const clamp = (value) => Math.max(0, Math.min(n - 1, value))
      this.select(this.cursor ? [clamp(row + step[0]), clamp(column + step[1])] : [row, column])
    } else if (event.key === "Enter") this.openCell()
    else if (event.key === "Escape") this.reset.onclick()
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  openCell() {
    if (this.cursor && this.cellIndex.has(this.cursor[0] * this.data.names.length + this.cursor[1])) this.sendCell(this.cursor)
  }

  select(cursor) {
    this.cursor = cursor
    if (cursor) {
      const follow = (range, at) => {
        const length = range[1] - range[0]
        return at < range[0] ? [at, at + length] : at >= range[1] ? [at - length + 1, at + 1] : range
      }
      this.rows = follow(this.rows, cursor[0])
      this.columns = follow(this.columns, cursor[1])
    }
    this.draw()
  }

  enlarge(rows, columns) {
    this.rows = rows
    this.columns = columns
    this.draw()
  }

  draw() {
    const { data } = this, n = data.names.length, shown = this.rows[1] - this.rows[0], named = shown <= MOST_NAMES
    const width = this.root.clientWidth, scale = window.devicePixelRatio || 1
    const margin = named ? Math.min(NAMES_MARGIN, width / 4) : PLAIN_MARGIN
    this.left = margin
    const side = Math.max(120, Math.min(width - margin - SCALE_WIDTH - 60, named ? 26 * shown + 160 : 680))
    this.size = side / shown
    const height = TOP + side + margin
    this.canvas.style.height = `${height}px`
    this.canvas.width = width * scale
    this.canvas.height = height * scale
    const pen = this.canvas.getContext("2d")
    pen.scale(scale, scale)
    const style = getComputedStyle(this.root)
    this.dark = (style.color.match(/\d+/)?.[0] ?? 0) > 127 // on a dark page large shares are light
    pen.strokeStyle = pen.fillStyle = style.color
    pen.font = `12px ${style.fontFamily}`
    pen.globalAlpha = 0.35
    pen.strokeRect(margin - 0.5, TOP - 0.5, side + 1, side + 1)
    pen.globalAlpha = 1
    const gap = this.size > 8 ? 1 : 0, square = Math.max(1.5, this.size - gap)
    for (let k = 0; k < data.label.length; k++) {
      const row = data.label[k] - this.rows[0], column = data.prediction[k] - this.columns[0]
      if (row < 0 || column < 0 || row >= shown || column >= shown) continue
      pen.fillStyle = this.colour(data.count[k] / data.total[data.label[k]])
      pen.fillRect(margin + column * this.size, TOP + row * this.size, square, square)
    }
    pen.fillStyle = style.color
    this.drawAxes(pen, side, named)
    this.drawScale(pen, margin + side + 14, side)
    for (const [cell, lineWidth] of [[data.chosen, 2], [this.cursor, 1]]) {
      if (!cell) continue
      const [x, y] = this.centre(...cell)
      const half = Math.max(this.size, 7) / 2 + 1
      pen.lineWidth = lineWidth
      if (this.cellAt(x, y)) pen.strokeRect(x - half, y - half, 2 * half, 2 * half)
    }
    if (this.dragStart && this.pointer) {
      pen.setLineDash([4, 3])
      const [x, y] = this.dragStart
      pen.strokeRect(x, y, this.pointer[0] - x, this.pointer[1] - y)
      pen.setLineDash([])
    }
    this.reset.hidden = shown === n
    this.status.textContent = this.cursor ? this.describe(...this.cursor) : "Point at a square to see its numbers."
    this.root.dataset.drawn = `${this.rows} ${this.columns}`
  }

  describe(row, column) {
    const { data } = this, k = this.cellIndex.get(row * data.names.length + column)
    const count = k === undefined ? 0 : data.count[k]
    const share = ((100 * count) / (data.total[row] || 1)).toFixed(1)
    return `${data.names[row]}, predicted ${data.names[column]}: ${count} clips, ${share} % of the label`
  }

  drawAxes(pen, side, named) {
    const { names } = this.data, middle = this.left + side / 2
    if (named) {
      const space = this.left - 10
      pen.textBaseline = "middle"
      for (let i = 0; i < this.rows[1] - this.rows[0]; i++) {
        const position = (i + 0.5) * this.size
        pen.textAlign = "right"
        pen.fillText(shortened(pen, names[this.rows[0] + i], space), this.left - 6, TOP + position)
        pen.save()
        pen.translate(this.left + position, TOP + side + 6)
        pen.rotate(-Math.PI / 4)
        pen.fillText(shortened(pen, names[this.columns[0] + i], space), 0, 6)
        pen.restore()
      }
      return
    }
    pen.textAlign = "center"
    pen.textBaseline = "middle"
    pen.fillText("predicted", middle, TOP + side + 14)
    pen.save()
    pen.translate(14, TOP + side / 2)
    pen.rotate(-Math.PI / 2)
    pen.fillText("label", 0, 0)
    pen.restore()
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
    pen.textBaseline = "middle"
    for (const share of [1, 0.5, 0]) pen.fillText(`${100 * share} %`, x + SCALE_WIDTH + 4, TOP + 5 + (1 - share) * (height - 10))
  }
}

function shortened(pen, text, space) {
  if (pen.measureText(text).width <= space) return text
  let length = text.length
  while (length && pen.measureText(`${text.slice(0, length)}…`).width > space) length--
  return `${text.slice(0, length)}…`
}
