with recursive {{>company.sql}},
wanted as (
  select p.id, p.code, p.template, t.account_category, t.type, t.default_uom, coalesce(t.sale_uom, t.default_uom) as sale_uom,
         (select array[to_jsonb(t) ->> 'weight', u.factor::text, u.rate::text]
            from product_uom u where u.id = (to_jsonb(t) ->> 'weight_uom')::int) as weight,
         (select array[to_jsonb(t) ->> 'volume', u.factor::text, u.rate::text]
            from product_uom u where u.id = (to_jsonb(t) ->> 'volume_uom')::int) as volume
    from product_product p
    join product_template t on t.id = p.template
   where p.id = any($1) and p.active and t.active and p.code <> '' and (coalesce(t.salable, false) or not {{only_salable}})
),
valued as (
  select w.id,
         -- a variant's own price, else its product's; a row that holds no price counts for none
         coalesce(
           (select v.list_price from product_list_price v
             where v.product = w.id and v.company = c.company order by v.id limit 1),
           (select v.list_price from product_list_price v
             where v.template = w.template and v.product is null and v.company = c.company order by v.id limit 1)
         ) as list_price,
         coalesce(
           (select v.cost_price from product_cost_price v
             where v.product = w.id and v.company = c.company order by v.id limit 1), 0) as cost_price,
{{#kits}}
         case when w.type = 'kit' then (
           select coalesce(json_agg(json_build_array(
                    coalesce((select v.cost_price from product_cost_price v
                               where v.product = k.product and v.company = c.company order by v.id limit 1), 0)::text,
                    k.quantity::text,
                    case when k.unit <> t.default_uom then json_build_array(kept.factor::text, kept.rate::text) end,
                    case when k.unit <> t.default_uom then json_build_array(asked.factor::text, asked.rate::text) end)
                    order by k.sequence nulls first, k.id), '[]')
             from product_component k
             join product_product p on p.id = k.product
             join product_template t on t.id = p.template
             join product_uom kept on kept.id = t.default_uom
             join product_uom asked on asked.id = k.unit
            where k.parent_product = w.id
               or (k.parent_template = w.template and k.parent_product is null
                   and not exists (select from product_component o where o.parent_product = w.id)))
         end as components
{{/kits}}
{{^kits}}
         null::json as components
{{/kits}}
    from wanted w
   cross join company c
),
list as materialized (
  select l.id, l.name, l.price, l.unit, l.tax_included,
         (to_jsonb(l) ->> 'parent')::int as parent,
         l.active and ({{price_lists}} = '{}' or l.name = any({{price_lists}})) as shown
    from product_price_list l
    join company c on c.company = l.company
),
-- a product's categories with all above them
up(product, category) as (
  select w.id, coalesce(tc.category, w.account_category)
    from wanted w
    left join (select template, category from "product_template-product_category"
                union all
               select id, account_category from product_template where id in (select template from wanted)) tc
      on tc.template = w.template
   union
  select up.product, pc.parent
    from up
    join product_category pc on pc.id = up.category
   where pc.parent is not null
),
-- dates and units of measurements are there only with their modules
current as materialized (
  select l.id, l.price_list, l.product, l.category, l.quantity, l.formula, l.sequence,
         (select json_build_array(u.factor::text, u.rate::text)
            from product_uom u where u.id = (to_jsonb(l) ->> 'weight_uom')::int) as weighed_in,
         (select json_build_array(u.factor::text, u.rate::text)
            from product_uom u where u.id = (to_jsonb(l) ->> 'volume_uom')::int) as measured_in
    from product_price_list_line l
   cross join company c
   where (l.product is null or l.product = any($1))
     and coalesce((to_jsonb(l) ->> 'start_date')::date, '-infinity') <= c.today
     and coalesce((to_jsonb(l) ->> 'end_date')::date, 'infinity') >= c.today
),
matching as (
  select l.product as key, l.*
    from current l
   where l.product is not null
     and (l.category is null
          or exists (select from up where up.product = l.product and up.category = l.category))
   union all
  select w.id, l.*
    from wanted w
    join current l on l.product is null
   where l.category is null
      or exists (select from up where up.product = w.id and up.category = l.category)
),
lines as (
  select m.key, m.price_list,
         array_agg(m.formula order by m.sequence nulls first, m.id) as formulas,
         array_agg(m.quantity::text order by m.sequence nulls first, m.id) as quantities,
         json_agg(json_build_array(m.weighed_in, m.measured_in) order by m.sequence nulls first, m.id) as units
    from matching m
   group by m.key, m.price_list
)
select w.id as key,
       w.code as sku,
       c.currency,
       (select coalesce(max(i.product_price_decimal), 4) from ir_configuration i) as digits,
       v.list_price,
       v.cost_price,
       v.components,
       case when w.sale_uom <> w.default_uom then array[kept.factor::text, kept.rate::text] end as kept_unit,
       case when w.sale_uom <> w.default_uom then array[sold.factor::text, sold.rate::text] end as sold_unit,
       list.id as list,
       list.name as price_list,
       list.parent,
       list.price as base,
       list.unit as counted_in,
       coalesce(list.tax_included, false) as tax_included,
       list.shown,
       w.weight,
       w.volume,
       lines.formulas,
       lines.quantities,
       lines.units
  from wanted w
 cross join company c
  join valued v on v.id = w.id
  join product_uom kept on kept.id = w.default_uom
  join product_uom sold on sold.id = w.sale_uom
 cross join (
       select * from list where shown or id in (select parent from list where parent is not null)
        union all
       select null, 'default', null, null, null, null, true
       ) list
  left join lines on lines.key = w.id and lines.price_list = list.id
