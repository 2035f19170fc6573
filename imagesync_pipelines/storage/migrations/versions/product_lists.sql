-- The lists of the catalogue are a table, and so are their lengths. Triggers keep them right whoever writes products or
-- images, once per statement and for the products that are concerned. Joins are by an index, as in shown_image.sql.

-- The height for which the list low_resolution is made; see list_for_height.
CREATE FUNCTION imagesync.listed_height() RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT detail_min_height FROM imagesync.listed_for), 600)
$$;

-- What each product lacks: the only place that says it. One that left the ERP is in no list. With LIMIT each is looked up
-- by an index: without, PostgreSQL may read the images of all products at once for a few.
CREATE VIEW imagesync.product_lacks AS
SELECT p.id AS product_id, p.sku,
       p.left_erp_at IS NULL AND s.owner_id IS NULL AS without_image,
       p.left_erp_at IS NULL
       AND (SELECT true FROM imagesync.product_image i WHERE i.product_id = p.id AND i.is_front LIMIT 1) IS NULL
       AND (SELECT true FROM imagesync.product_image i WHERE i.product_id = p.id LIMIT 1) IS NOT NULL AS without_front,
       p.left_erp_at IS NULL
       AND coalesce((SELECT i.height FROM imagesync.product_image i WHERE i.product_id = p.id AND i.is_primary LIMIT 1)
                    < (SELECT imagesync.listed_height()), false) AS low_resolution
  FROM imagesync.product p LEFT JOIN imagesync.shown_image s ON s.product_id = p.id;

CREATE VIEW imagesync.what_is_listed AS
SELECT l.list, p.sku, p.product_id
  FROM imagesync.product_lacks p
 CROSS JOIN LATERAL (VALUES ('without_image', without_image), ('without_front', without_front),
                            ('low_resolution', low_resolution)) AS l (list, is_in_it)
 WHERE l.is_in_it;

CREATE FUNCTION imagesync.refresh_lists(asked bigint[]) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
BEGIN
    WITH lacks AS MATERIALIZED (
        SELECT p.* FROM (SELECT DISTINCT unnest(asked) AS id) AS a JOIN imagesync.product_lacks p ON p.product_id = a.id
    ), gone AS (
        DELETE FROM imagesync.listed_product l USING lacks p
         WHERE l.product_id = p.product_id
           AND NOT (l.sku = p.sku AND CASE l.list WHEN 'without_image' THEN p.without_image
                                                  WHEN 'without_front' THEN p.without_front
                                                  ELSE p.low_resolution END)
    )
    INSERT INTO imagesync.listed_product (list, sku, product_id)
    SELECT l.list, p.sku, p.product_id
      FROM lacks p
     CROSS JOIN LATERAL (VALUES ('without_image', without_image), ('without_front', without_front),
                                ('low_resolution', low_resolution)) AS l (list, is_in_it)
     WHERE (p.without_image OR p.without_front OR p.low_resolution) AND l.is_in_it
    ON CONFLICT DO NOTHING;
END $$;

-- The same for products that can only have left lists.
CREATE FUNCTION imagesync.unlist(asked bigint[]) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
BEGIN
    DELETE FROM imagesync.listed_product l USING unnest(asked) AS a (id), imagesync.product_lacks p
     WHERE l.product_id = a.id AND p.product_id = l.product_id
       AND NOT CASE l.list WHEN 'without_image' THEN p.without_image WHEN 'without_front' THEN p.without_front
                           ELSE p.low_resolution END;
END $$;

-- A count is the sum of its changes: writers add a row each, so none waits for another. Now and then one that writes
-- sums up what it can have.
CREATE FUNCTION imagesync.note_counts(noted text[], changes bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    newest bigint;
BEGIN
    WITH added AS (
        INSERT INTO imagesync.product_count (name, change)
        SELECT n.name, n.change FROM unnest(noted, changes) AS n (name, change) WHERE n.change <> 0 RETURNING id
    )
    SELECT max(id) FILTER (WHERE mod(id, 50) = 0) INTO newest FROM added;
    IF newest IS NOT NULL THEN
        WITH taken AS (
            SELECT id FROM imagesync.product_count WHERE id <= newest FOR UPDATE SKIP LOCKED
        ), gone AS (
            DELETE FROM imagesync.product_count c USING taken WHERE c.id = taken.id RETURNING name, change
        )
        INSERT INTO imagesync.product_count (name, change)
        SELECT name, sum(change) FROM gone GROUP BY name HAVING sum(change) <> 0;
    END IF;
END $$;

CREATE FUNCTION imagesync.count_listed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    sign integer := CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END;
BEGIN
    PERFORM imagesync.note_counts(array_agg(c.list), array_agg(c.number * sign))
       FROM (SELECT list, count(*) AS number FROM changed GROUP BY list) AS c HAVING count(*) > 0;
    RETURN NULL;
END $$;

-- Everything anew, from what the tables say; writers wait.
CREATE FUNCTION imagesync.rebuild_lists() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Whoever writes images or pins locks its products first.
    LOCK TABLE imagesync.product IN EXCLUSIVE MODE;
    LOCK TABLE imagesync.product_image IN SHARE ROW EXCLUSIVE MODE;
    PERFORM imagesync.lock_shown_images();
    DELETE FROM imagesync.listed_product;
    INSERT INTO imagesync.listed_product (list, sku, product_id)
    SELECT list, sku, product_id FROM imagesync.what_is_listed;
    DELETE FROM imagesync.product_count;
    INSERT INTO imagesync.product_count (name, change)
    SELECT list, count(*) FROM imagesync.listed_product GROUP BY list
     UNION ALL
    SELECT 'products', count(*) FROM imagesync.product WHERE left_erp_at IS NULL;
    ANALYZE imagesync.listed_product;
END $$;

-- The least height of a picture for a product page, in pixels, for which the list low_resolution is made.
CREATE FUNCTION imagesync.list_for_height(wanted integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM imagesync.lock_shown_images();
    DELETE FROM imagesync.listed_for;
    INSERT INTO imagesync.listed_for (detail_min_height) VALUES (wanted);
    DELETE FROM imagesync.listed_product WHERE list = 'low_resolution';
    INSERT INTO imagesync.listed_product (list, sku, product_id)
    SELECT 'low_resolution', p.sku, p.id
      FROM imagesync.product_image i JOIN imagesync.product p ON p.id = i.product_id
     WHERE i.is_primary AND i.height < wanted AND p.left_erp_at IS NULL;
END $$;

-- New images lend themselves to the parents of their products where one is better than the one that the parent has, or
-- the parent has none: nothing else has to be looked at. Who has images by a number keeps them.
CREATE FUNCTION imagesync.lend_images(images bigint[]) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
BEGIN
    INSERT INTO imagesync.shown_image (product_id, owner_id, own_first_id, lent_image_id, changed_at)
    SELECT new.parent_id, new.lender_id, new.lender_id, new.id, now()
      FROM (
        SELECT DISTINCT ON (p.parent_id) p.parent_id, p.id AS lender_id, i.id, p.sku,
               p.variant_code IS DISTINCT FROM 'BE' AS place,
               imagesync.rank_of_lent(i.image_type, i.is_primary, i.is_front) AS rank
          FROM unnest(images) AS n (id) JOIN imagesync.product_image i USING (id)
          JOIN imagesync.product p ON p.id = i.product_id
         WHERE p.parent_id IS NOT NULL AND p.left_erp_at IS NULL
         ORDER BY p.parent_id, place, rank, p.sku, i.id
      ) AS new
      LEFT JOIN imagesync.shown_image known ON known.product_id = new.parent_id
      LEFT JOIN imagesync.product_image lent ON lent.id = known.lent_image_id
      LEFT JOIN imagesync.product its ON its.id = lent.product_id
     WHERE known.owner_id IS NULL
        OR lent.id IS NOT NULL
           AND (new.place, new.rank, new.sku, new.id)
               < (its.variant_code IS DISTINCT FROM 'BE',
                  imagesync.rank_of_lent(lent.image_type, lent.is_primary, lent.is_front), its.sku, lent.id)
    ON CONFLICT (product_id) DO UPDATE
       SET owner_id = EXCLUDED.owner_id, own_first_id = EXCLUDED.own_first_id, lent_image_id = EXCLUDED.lent_image_id,
           changed_at = EXCLUDED.changed_at;
END $$;

-- Which image of a variant stands for its parent: the best kind of picture.
CREATE FUNCTION imagesync.rank_of_lent(image_type text, is_primary boolean, is_front boolean) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN lower(btrim(image_type)) = 'produktfoto'
                THEN CASE WHEN is_primary AND is_front THEN 1 WHEN is_primary THEN 2 WHEN is_front THEN 3 ELSE 4 END
                WHEN is_primary THEN 5 ELSE 6 END
$$;

-- As it was, but that the first number is found without sorting, and that `only_numbers` keeps the image that a variant
-- lends where no number has any.
DROP FUNCTION imagesync.refresh_shown_images(bigint[], bigint[]);
CREATE FUNCTION imagesync.refresh_shown_images(asked bigint[], told bigint[], only_numbers boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
BEGIN
    INSERT INTO imagesync.shown_image (product_id, owner_id, own_first_id, lent_image_id, changed_at)
    SELECT p.id, coalesce(o.first[4], v.owner_id), coalesce(o.own_first[4], v.owner_id), v.lent_image_id, now()
      FROM (SELECT DISTINCT unnest(asked) AS id) AS a
      JOIN imagesync.product p USING (id) LEFT JOIN imagesync.product parent ON parent.id = p.parent_id
      LEFT JOIN imagesync.shown_image known ON known.product_id = p.id
     CROSS JOIN LATERAL (
        SELECT min(ARRAY[step, place, (lender.kind = 'parent')::integer, lender.id]) AS first,
               min(ARRAY[step_own_first, place, (lender.kind = 'parent')::integer, lender.id]) AS own_first
          FROM (VALUES
                -- A variant's own SKU is the second number, or the first where own images come first.
                (p.sku, 2, 0),
                (CASE WHEN p.kind = 'variant' THEN parent.sku END, 1, 1),
                -- The base SKU stands in for a parent that is not known.
                (CASE WHEN p.kind = 'variant' AND p.base_sku IS DISTINCT FROM parent.sku THEN p.base_sku END, CASE WHEN p.parent_id IS NULL THEN 1 ELSE 3 END, 3)
               ) AS tried (number, step, step_own_first)
          JOIN imagesync.product lender ON lender.sku = tried.number AND tried.number <> ''
         CROSS JOIN LATERAL (SELECT (p.left_erp_at IS NULL OR lender.id <> p.id)::integer AS place) AS itself
         WHERE (lender.left_erp_at IS NULL OR lender.id = p.id)
           AND (SELECT true FROM imagesync.product_image i WHERE i.product_id = lender.id LIMIT 1)
     ) AS o
      LEFT JOIN LATERAL (
        -- For a product without images the one of a variant: BE first, then the best kind of picture.
        (SELECT lender.id AS owner_id, i.id AS lent_image_id
           FROM imagesync.product lender JOIN imagesync.product_image i ON i.product_id = lender.id
          WHERE NOT only_numbers AND o.first IS NULL AND lender.parent_id = p.id AND lender.left_erp_at IS NULL
          ORDER BY lender.variant_code IS DISTINCT FROM 'BE',
                   imagesync.rank_of_lent(i.image_type, i.is_primary, i.is_front), lender.sku, i.id
          LIMIT 1)
         UNION ALL
        SELECT known.owner_id, known.lent_image_id
         WHERE only_numbers AND o.first IS NULL AND known.lent_image_id IS NOT NULL
     ) AS v ON true
     WHERE (coalesce(o.first[4], v.owner_id), coalesce(o.own_first[4], v.owner_id), v.lent_image_id)
           IS DISTINCT FROM (known.owner_id, known.own_first_id, known.lent_image_id)
    ON CONFLICT (product_id) DO UPDATE
       SET owner_id = EXCLUDED.owner_id, own_first_id = EXCLUDED.own_first_id, lent_image_id = EXCLUDED.lent_image_id,
           changed_at = EXCLUDED.changed_at;

    IF cardinality(told) > 0 THEN
        INSERT INTO imagesync.shown_image (product_id, changed_at)
        SELECT DISTINCT t.id, now() FROM unnest(told) AS t (id) JOIN imagesync.product USING (id)
        ON CONFLICT (product_id) DO UPDATE SET changed_at = EXCLUDED.changed_at;
    END IF;
END $$;

-- As it was, but that own_first_id is only asked where owner_id does not say the same.
CREATE OR REPLACE FUNCTION imagesync.may_show_images_of(touched bigint[], numbers text[]) RETURNS bigint[]
LANGUAGE sql STABLE SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
    WITH lenders AS (
        SELECT unnest(touched) AS id
         UNION
        SELECT p.id FROM unnest(numbers) AS n (number) JOIN imagesync.product p ON p.sku = n.number
    )
    SELECT coalesce(array_agg(every.id), '{}') FROM (
        SELECT id FROM lenders
         UNION
        SELECT p.id FROM lenders l JOIN imagesync.product p ON p.parent_id = l.id
         UNION
        SELECT p.parent_id FROM lenders l JOIN imagesync.product p USING (id) WHERE p.parent_id IS NOT NULL
         UNION
        SELECT p.id FROM unnest(numbers) AS n (number) JOIN imagesync.product p ON p.base_sku = n.number
         UNION
        SELECT s.product_id FROM unnest(touched) AS t (id) JOIN imagesync.shown_image s ON s.owner_id = t.id
         UNION
        SELECT s.product_id FROM unnest(touched) AS t (id)
          JOIN imagesync.shown_image s ON s.own_first_id = t.id AND s.own_first_id <> s.owner_id
    ) AS every
$$;

-- The products that may show the images of these from now on: themselves, and who has their number or is their variant.
CREATE FUNCTION imagesync.may_now_show_images_of(touched bigint[], numbers text[]) RETURNS bigint[]
LANGUAGE sql STABLE SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
    WITH lenders AS (
        SELECT unnest(touched) AS id
         UNION
        SELECT p.id FROM unnest(numbers) AS n (number) JOIN imagesync.product p ON p.sku = n.number
    )
    SELECT coalesce(array_agg(every.id), '{}') FROM (
        SELECT id FROM lenders
         UNION
        SELECT p.id FROM lenders l JOIN imagesync.product p ON p.parent_id = l.id
         UNION
        SELECT p.id FROM unnest(numbers) AS n (number) JOIN imagesync.product p ON p.base_sku = n.number
    ) AS every
$$;

CREATE OR REPLACE FUNCTION imagesync.show_images() RETURNS trigger
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    touched bigint[];
    numbers text[];
    asked bigint[];
    best bigint[];
    parents bigint[];
    lacking bigint[];
    least_height integer := imagesync.listed_height();
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT array_agg(p.id), array_agg(p.sku) INTO touched, numbers
          FROM (SELECT unnest(ARRAY[c.product_id, b.product_id]) AS id
                  FROM changed c JOIN before b USING (id) WHERE c.product_id <> b.product_id) AS moved
          JOIN imagesync.product p USING (id);
        IF touched IS NOT NULL THEN
            PERFORM imagesync.lock_shown_images();
            asked := imagesync.may_show_images_of(touched, numbers);
            PERFORM imagesync.refresh_shown_images(asked, '{}');
            PERFORM imagesync.refresh_lists(asked);
        END IF;
        SELECT array_agg(DISTINCT p.id),
               -- Only which of a variant's images stands for its parent may be another one.
               array_agg(DISTINCT p.parent_id) FILTER (
                   WHERE p.parent_id IS NOT NULL
                     AND (c.is_primary, c.is_front, c.image_type) IS DISTINCT FROM (b.is_primary, b.is_front, b.image_type))
          INTO touched, parents
          FROM changed c JOIN before b USING (id) JOIN imagesync.product p ON p.id = c.product_id
         WHERE (c.is_primary, c.is_front, c.image_type, c.height)
               IS DISTINCT FROM (b.is_primary, b.is_front, b.image_type, b.height);
        IF touched IS NOT NULL THEN
            PERFORM imagesync.lock_shown_images();
            IF parents IS NOT NULL THEN
                PERFORM imagesync.refresh_shown_images(parents, '{}');
            END IF;
            PERFORM imagesync.refresh_lists(touched);
        END IF;
        RETURN NULL;
    END IF;
    SELECT array_agg(p.id), array_agg(p.sku), array_agg(c.best[2]),
           array_agg(p.parent_id) FILTER (WHERE p.parent_id IS NOT NULL),
           array_agg(p.id) FILTER (WHERE NOT c.has_front OR c.height < least_height)
      INTO touched, numbers, best, parents, lacking
      FROM (SELECT product_id, min(ARRAY[imagesync.rank_of_lent(image_type, is_primary, is_front), id]) AS best,
                   bool_or(is_front) AS has_front, min(height) FILTER (WHERE is_primary) AS height
              FROM changed GROUP BY product_id) AS c
      JOIN imagesync.product p ON p.id = c.product_id;
    IF touched IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM imagesync.lock_shown_images();
    IF TG_OP = 'INSERT' THEN
        asked := imagesync.may_now_show_images_of(touched, numbers);
        PERFORM imagesync.refresh_shown_images(asked, '{}', true);
        IF parents IS NOT NULL THEN
            PERFORM imagesync.lend_images(best);
        END IF;
        PERFORM imagesync.refresh_lists(lacking);
        PERFORM imagesync.unlist(asked || parents);
    ELSE
        asked := imagesync.may_show_images_of(touched, numbers);
        PERFORM imagesync.refresh_shown_images(asked, '{}');
        PERFORM imagesync.refresh_lists(asked);
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION imagesync.show_images_of_products() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    touched bigint[];
    numbers text[];
    left_behind bigint[];
    asked bigint[];
    more bigint;
BEGIN
    IF TG_OP = 'DELETE' THEN
        SELECT array_agg(id), -count(*) FILTER (WHERE left_erp_at IS NULL) INTO touched, more FROM changed;
        IF touched IS NOT NULL THEN
            PERFORM imagesync.lock_shown_images();
            DELETE FROM imagesync.listed_product WHERE product_id = ANY (touched);
            DELETE FROM imagesync.shown_image WHERE product_id = ANY (touched);
            PERFORM imagesync.note_counts('{products}', ARRAY[more]);
        END IF;
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        SELECT count(*) FILTER (WHERE left_erp_at IS NULL) INTO more FROM changed;
        PERFORM imagesync.note_counts('{products}', ARRAY[more]);
        IF NOT EXISTS (SELECT FROM imagesync.product_image) THEN
            -- A new product has nothing to lend yet, and nobody lends it anything.
            INSERT INTO imagesync.listed_product (list, sku, product_id)
            SELECT 'without_image', sku, id FROM changed WHERE left_erp_at IS NULL;
        ELSIF EXISTS (SELECT FROM changed) THEN
            SELECT array_agg(id) INTO asked FROM changed;
            PERFORM imagesync.lock_shown_images();
            PERFORM imagesync.refresh_shown_images(asked, '{}');
            PERFORM imagesync.refresh_lists(asked);
        END IF;
        RETURN NULL;
    END IF;
    SELECT array_agg(c.id), array_agg(c.sku) || array_agg(b.sku),
           array_agg(DISTINCT b.parent_id) FILTER (WHERE b.parent_id IS DISTINCT FROM c.parent_id AND b.parent_id IS NOT NULL),
           sum((c.left_erp_at IS NULL)::integer - (b.left_erp_at IS NULL)::integer)
      INTO touched, numbers, left_behind, more
      FROM changed c JOIN before b USING (id)
     WHERE (c.kind, c.sku, c.parent_id, c.variant_code, c.base_sku, c.left_erp_at IS NULL)
           IS DISTINCT FROM (b.kind, b.sku, b.parent_id, b.variant_code, b.base_sku, b.left_erp_at IS NULL);
    IF touched IS NOT NULL THEN
        left_behind := coalesce(left_behind, '{}');
        PERFORM imagesync.note_counts('{products}', ARRAY[more]);
        PERFORM imagesync.lock_shown_images();
        -- The family that a variant left is told, images or not.
        asked := imagesync.may_show_images_of(touched, numbers) || left_behind;
        PERFORM imagesync.refresh_shown_images(asked, left_behind);
        PERFORM imagesync.refresh_lists(asked);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER shown_of_gone_products AFTER DELETE ON imagesync.product
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.show_images_of_products();
CREATE TRIGGER count_of_listed AFTER INSERT ON imagesync.listed_product
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.count_listed();
CREATE TRIGGER count_of_unlisted AFTER DELETE ON imagesync.listed_product
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.count_listed();

-- TRUNCATE calls none of the triggers above.
CREATE FUNCTION imagesync.show_nothing_of_emptied() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = imagesync, pg_temp AS $$
BEGIN
    PERFORM imagesync.lock_shown_images();
    DELETE FROM imagesync.shown_image;
    PERFORM imagesync.rebuild_lists();
    RETURN NULL;
END $$;
CREATE TRIGGER emptied_products AFTER TRUNCATE ON imagesync.product
    FOR EACH STATEMENT EXECUTE FUNCTION imagesync.show_nothing_of_emptied();
CREATE TRIGGER emptied_images AFTER TRUNCATE ON imagesync.product_image
    FOR EACH STATEMENT EXECUTE FUNCTION imagesync.show_nothing_of_emptied();
