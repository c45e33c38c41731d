// A confusion matrix of any size on a canvas: point at a cell to read it, click it or press Enter to open it, drag over
// a part to enlarge it. Names are written as soon as there is room for them.

const NAMED = 40 // classes beside an axis
const NAMES = 150, BARE = 28, EDGE = 8, BAR = 14 // pixels: beside the axes with and without names, and of the scale
const FEWEST = 4 // classes, enlarged

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".matrix")
  const view = (root.view ??= new View(root))
  view.open = (cell) => setTriggerValue("cell", cell)
  view.show(data)
}

class View {
  constructor(root) {
    this.root = root
    this.canvas = root.querySelector("canvas")
    this.words = root.querySelector(".words")
    this.whole = root.querySelector(".whole")
    this.whole.onclick = () => this.enlarge([0, this.data.names.length], [0, this.data.names.length])
    this.canvas.onpointerdown = (event) => {
      this.from = [event.offsetX, event.offsetY]
      this.canvas.setPointerCapture(event.pointerId)
    }
    this.canvas.onpointermove = (event) => this.point(event)
    this.canvas.onpointerup = (event) => this.release(event)
    this.canvas.onpointerleave = () => this.from || this.move(null)
    this.canvas.onkeydown = (event) => this.key(event)
    new ResizeObserver(() => this.data && this.draw()).observe(root)
  }

  show(data) {
    const n = data.names.length
    if (this.data?.run !== data.run) [this.rows, this.columns, this.cursor] = [[0, n], [0, n], null]
    this.data = data
    this.colours = Uint8Array.from(atob(data.colours), (c) => c.charCodeAt(0))
    this.at = new Map(data.label.map((label, k) => [label * n + data.said[k], k]))
    this.draw()
  }

  // [row, column] at a point of the canvas, or null beside the matrix.
  cell(x, y) {
    const row = this.rows[0] + Math.floor((y - EDGE) / this.size)
    const column = this.columns[0] + Math.floor((x - this.left) / this.size)
    const inside = row >= this.rows[0] && row < this.rows[1] && column >= this.columns[0] && column < this.columns[1]
    return inside ? [row, column] : null
  }

  // Where the middle of a cell is, in pixels of the canvas.
  place(row, column) {
    return [
      this.left + (column - this.columns[0] + 0.5) * this.size, EDGE + (row - this.rows[0] + 0.5) * this.size,
    ]
  }

  point(event) {
    this.to = [event.offsetX, event.offsetY]
    this.move(this.cell(...this.to))
  }

  release(event) {
    const [x, y] = this.from ?? [event.offsetX, event.offsetY]
    this.from = null
    const a = this.cell(x, y), b = this.cell(event.offsetX, event.offsetY)
    if (a && b && Math.max(Math.abs(event.offsetX - x), Math.abs(event.offsetY - y)) > 12) {
      const around = (k) => {
        const low = Math.min(a[k], b[k]), length = Math.max(FEWEST, Math.abs(a[k] - b[k]) + 1)
        return [low, length]
      }
      const [row, rows] = around(0), [column, columns] = around(1), n = this.data.names.length
      const length = Math.min(n, Math.max(rows, columns))
      const from = (low) => Math.min(low, n - length)
      this.enlarge([from(row), from(row) + length], [from(column), from(column) + length])
    } else if (b) {
      this.move(b)
      this.choose()
    }
  }

  key(event) {
    const far = event.shiftKey ? 10 : 1, n = this.data.names.length
    const step = { ArrowUp: [-far, 0], ArrowDown: [far, 0], ArrowLeft: [0, -far], ArrowRight: [0, far] }[event.key]
    if (step) {
      const [row, column] = this.cursor ?? [this.rows[0], this.columns[0]]
      const within = (value) => Math.max(0, Math.min(n - 1, value))
      this.move(this.cursor ? [within(row + step[0]), within(column + step[1])] : [row, column])
    } else if (event.key === "Enter") this.choose()
    else if (event.key === "Escape") this.whole.onclick()
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  choose() {
    if (this.cursor && this.at.has(this.cursor[0] * this.data.names.length + this.cursor[1])) this.open(this.cursor)
  }

  move(cursor) {
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
    const { data } = this, n = data.names.length, shown = this.rows[1] - this.rows[0], named = shown <= NAMED
    const wide = this.root.clientWidth, scale = window.devicePixelRatio || 1
    const margin = named ? Math.min(NAMES, wide / 4) : BARE
    this.left = margin
    const side = Math.max(120, Math.min(wide - margin - BAR - 60, named ? 26 * shown + 160 : 680))
    this.size = side / shown
    const high = EDGE + side + margin
    this.canvas.style.height = `${high}px`
    this.canvas.width = wide * scale
    this.canvas.height = high * scale
    const pen = this.canvas.getContext("2d")
    pen.scale(scale, scale)
    const style = getComputedStyle(this.root)
    this.dark = (style.color.match(/\d+/)?.[0] ?? 0) > 127 // the text is light: so should be what is large
    pen.strokeStyle = pen.fillStyle = style.color
    pen.font = `12px ${style.fontFamily}`
    pen.globalAlpha = 0.35
    pen.strokeRect(margin - 0.5, EDGE - 0.5, side + 1, side + 1)
    pen.globalAlpha = 1
    const gap = this.size > 8 ? 1 : 0, square = Math.max(1.5, this.size - gap)
    for (let k = 0; k < data.label.length; k++) {
      const row = data.label[k] - this.rows[0], column = data.said[k] - this.columns[0]
      if (row < 0 || column < 0 || row >= shown || column >= shown) continue
      pen.fillStyle = this.colour(data.count[k] / data.total[data.label[k]])
      pen.fillRect(margin + column * this.size, EDGE + row * this.size, square, square)
    }
    pen.fillStyle = style.color
    this.axes(pen, side, named)
    this.scale(pen, margin + side + 14, side)
    for (const [cell, width] of [[data.chosen, 2], [this.cursor, 1]]) {
      if (!cell) continue
      const [x, y] = this.place(...cell)
      const around = Math.max(this.size, 7) / 2 + 1
      pen.lineWidth = width
      if (this.cell(x, y)) pen.strokeRect(x - around, y - around, 2 * around, 2 * around)
    }
    if (this.from && this.to) {
      pen.setLineDash([4, 3])
      pen.strokeRect(...this.from, this.to[0] - this.from[0], this.to[1] - this.from[1])
      pen.setLineDash([])
    }
    this.whole.hidden = shown === n
    this.words.textContent = this.cursor ? this.sentence(...this.cursor) : "Point at a square to read it."
    this.root.dataset.drawn = `${this.rows} ${this.columns}`
  }

  sentence(row, column) {
    const { data } = this, k = this.at.get(row * data.names.length + column)
    const count = k === undefined ? 0 : data.count[k]
    const share = ((100 * count) / (data.total[row] || 1)).toFixed(1)
    const said = row === column ? "recognised" : `taken for ${data.names[column]}`
    return `${data.names[row]}, ${said}: ${count} clips, ${share} % of the label`
  }

  axes(pen, side, named) {
    const { names } = this.data, middle = this.left + side / 2
    if (named) {
      const room = this.left - 10
      pen.textBaseline = "middle"
      for (let i = 0; i < this.rows[1] - this.rows[0]; i++) {
        const at = (i + 0.5) * this.size
        pen.textAlign = "right"
        pen.fillText(fitted(pen, names[this.rows[0] + i], room), this.left - 6, EDGE + at)
        pen.save()
        pen.translate(this.left + at, EDGE + side + 6)
        pen.rotate(-Math.PI / 4)
        pen.fillText(fitted(pen, names[this.columns[0] + i], room), 0, 6)
        pen.restore()
      }
      return
    }
    pen.textAlign = "center"
    pen.textBaseline = "middle"
    pen.fillText("predicted", middle, EDGE + side + 14)
    pen.save()
    pen.translate(14, EDGE + side / 2)
    pen.rotate(-Math.PI / 2)
    pen.fillText("label", 0, 0)
    pen.restore()
  }

  colour(share) {
    const i = 3 * Math.round(255 * (this.dark ? 1 - share : share))
    return `rgb(${this.colours[i]}, ${this.colours[i + 1]}, ${this.colours[i + 2]})`
  }

  scale(pen, x, side) {
    const high = Math.min(side, 180)
    for (let i = 0; i < high; i++) {
      pen.fillStyle = this.colour(1 - i / high)
      pen.fillRect(x, EDGE + i, BAR, 1)
    }
    pen.fillStyle = getComputedStyle(this.root).color
    pen.textAlign = "left"
    pen.textBaseline = "middle"
    for (const share of [1, 0.5, 0]) pen.fillText(`${100 * share} %`, x + BAR + 4, EDGE + 5 + (1 - share) * (high - 10))
  }
}

function fitted(pen, text, room) {
  if (pen.measureText(text).width <= room) return text
  let length = text.length
  while (length && pen.measureText(`${text.slice(0, length)}…`).width > room) length--
  return `${text.slice(0, length)}…`
}
