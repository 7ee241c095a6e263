// Optique makes a segmenter of text when it is loaded, which takes 10 to 20 ms of every start: V8 reads
// the tables of Unicode for it. It is asked only where text is broken into lines; from here on one that
// is made is made at its first use.

const { Segmenter } = Intl;

class LateSegmenter implements Intl.Segmenter {
  static readonly supportedLocalesOf = Segmenter.supportedLocalesOf;

  readonly #options: ConstructorParameters<typeof Segmenter>;
  #made: Intl.Segmenter | undefined;

  constructor(...options: ConstructorParameters<typeof Segmenter>) {
    this.#options = options;
  }

  segment(input: string): Intl.Segments {
    return this.#segmenter.segment(input);
  }

  resolvedOptions(): Intl.ResolvedSegmenterOptions {
    return this.#segmenter.resolvedOptions();
  }

  get #segmenter(): Intl.Segmenter {
    return this.#made ??= new Segmenter(...this.#options);
  }
}

Object.assign(Intl, { Segmenter: LateSegmenter });
