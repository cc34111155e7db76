with recursive wanted as (
  select p.id, p.code, p.template, p.description, t.name, to_jsonb(p) -> 'attributes' as attributes
    from product_product p
    join product_template t on t.id = p.template
   where p.id = any($1) and p.active and t.active and p.code <> '' and (coalesce(t.salable, false) or not {{only_salable}})
),
locale as (
  select l.code
    from ir_lang l
   where case when {{locales}} = '{}' then l.active and l.translatable else l.code = any({{locales}}) end
),
-- a language, then those that it falls back to
chain(locale, code, step) as (
  select code::text, code::text, 0 from locale
   union all
  select chain.locale, above.code, chain.step + 1
    from chain
   cross join lateral (
         select coalesce(
                  (select nullif(l.parent, '') from ir_lang l where l.code = chain.code),
                  nullif(regexp_replace(chain.code, '[@_][^@_]*$', ''), chain.code)) as code
         ) above
   where above.code is not null and chain.step < 5
),
above(product, category, top, path) as (
  select w.id, tc.category, tc.category, array[tc.category]
    from wanted w
    join "product_template-product_category" tc on tc.template = w.template
   union all
  select a.product, a.category, pc.parent, pc.parent || a.path
    from above a
    join product_category pc on pc.id = a.top
   where pc.parent is not null and not pc.parent = any(a.path)
),
category as (
  select distinct on (product, category) product, category, path from above order by product, category, cardinality(path) desc
),
{{#images}}
image as (
  select w.id as product, i.id, i.description, i.image, i.image_id,
         row_number() over (partition by w.id order by i.product nulls last, i.sequence nulls first, i.id) as position
    from wanted w
    join product_image i on i.product = w.id or (i.template = w.template and i.product is null)
),
{{/images}}
translated(locale, name, id) as (
  select distinct on (chain.locale, t.name, t.res_id) chain.locale, t.name, t.res_id, t.value
    from chain
    join ir_translation t on t.lang = chain.code and t.type = 'model' and not t.fuzzy and t.value <> ''
   where (t.name = 'product.template,name' and t.res_id in (select template from wanted))
      or (t.name = 'product.product,description' and t.res_id in (select id from wanted))
      or (t.name = 'product.category,name' and t.res_id in (select unnest(path) from category))
{{#images}}
      or (t.name = 'product.image,description' and t.res_id in (select id from image))
{{/images}}
   order by chain.locale, t.name, t.res_id, chain.step, t.id desc
)
select w.id as key,
       w.code as sku,
       locale.code as locale,
       coalesce((select value from translated x where x.locale = locale.code and x.name = 'product.template,name' and x.id = w.template),
                w.name) as title,
       replace(replace(replace(replace(
         coalesce((select value from translated x
                    where x.locale = locale.code and x.name = 'product.product,description' and x.id = w.id),
                  w.description),
         '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), E'\n', '<br>') as description_html,
       coalesce(nullif(w.attributes, 'null'), '{}') as attributes,
{{#images}}
       coalesce((
         select json_agg(json_strip_nulls(json_build_object(
                  'sha256', case when {{image_url}} is null then encode(sha256(i.image), 'hex') end,
                  'url', replace({{image_url}}, '{id}', coalesce(i.image_id, i.id::text)),
                  'position', i.position,
                  'alt', coalesce((select value from translated x
                                    where x.locale = locale.code and x.name = 'product.image,description' and x.id = i.id),
                                  i.description))) order by i.position)
           from image i
          where i.product = w.id), '[]'::json) as images,
{{/images}}
       coalesce((
         select json_agg(named.name order by named.name)
           from (select string_agg(coalesce(x.value, pc.name), ' / ' order by step.number) as name
                   from category c
                  cross join unnest(c.path) with ordinality as step(id, number)
                   join product_category pc on pc.id = step.id
                   left join translated x on x.locale = locale.code and x.name = 'product.category,name' and x.id = step.id
                  where c.product = w.id
                  group by c.category) named), '[]'::json) as categories
  from wanted w
 cross join locale
