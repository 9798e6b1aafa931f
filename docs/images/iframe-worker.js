// A page that is opened from a disk may not start a worker, and the search is one. There, a hidden frame does its work.
if (location.protocol === "file:") {
  window.Worker = class {
    onmessage = null;
    onerror = null;
    onmessageerror = null;

    constructor(url) {
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.ready = new Promise((resolve) => {
        this.frame.onload = () => {
          const inside = this.frame.contentWindow;
          inside.postMessage = (data) => setTimeout(() => this.onmessage?.({ data: structuredClone(data) }));
          const script = inside.document.createElement("script");
          script.src = url;
          script.onload = () => resolve(inside);
          script.onerror = (event) => this.onerror?.(event);
          inside.document.body.append(script);
        };
      });
      document.body.append(this.frame);
    }

    postMessage(message) {
      const data = structuredClone(message); // as a worker does: the search changes what it gets
      this.ready.then((inside) => inside.onmessage?.({ data }));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
